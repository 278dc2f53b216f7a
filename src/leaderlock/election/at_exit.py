"""The exit of a leading process: its task is asked to stop before the leadership passes on."""

from __future__ import annotations

import atexit
import os
import sys
import time

from leaderlock.kernel.green import here
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.election.candidate import Candidate

EXIT_GRACE = 5.0
"""Seconds that a leader's task has, at the interpreter's exit, to end after it was asked to stop."""

candidates: set[Candidate] = set()
"""The candidates that stand or lead. This set keeps them alive: a lock is not lost with a variable."""


def stop_at_exit() -> None:
    """Ask the tasks of this process to stop. Standbys do not delay the exit, and will not lead."""
    mine = [candidate for candidate in candidates if candidate._pid == os.getpid()]
    for candidate in mine:
        candidate.note_exit()
        candidate._request_stop()
    myself = here()  # a task that exits by a signal handler: it cannot wait for itself
    leading = [c for c in mine if c._leadership is not None and c._thread != myself and not c._ended]
    for candidate in leading:
        candidate.ask_to_stop()
    deadline = time.monotonic() + EXIT_GRACE
    for candidate in leading:
        if not candidate._until_ended(deadline - time.monotonic()):
            # Wait for a candidate only once: in a child of multiprocessing, Python calls this function
            # twice. The thread that runs the task keeps the candidate alive.
            candidates.discard(candidate)
            log().warning(
                "the task for %s did not stop within %g s of the interpreter's exit; "
                "the leadership passes on as the process ends",
                candidate.address,
                EXIT_GRACE,
            )


end_notices: list[Callable[[], bool]] = []
"""Functions of the server integrations: each returns whether this process has been told to end."""


def is_ending() -> bool:
    """Whether this process has been told to end, so that it must not begin to lead."""
    # For speed: see "How it is built". A generator for `any` costs a new leader more.
    for notice in end_notices:  # noqa: SIM110
        if notice():
            return True
    return False


def retire() -> None:
    """This process has been told to end: its standbys leave the queue; a leader's task goes on."""
    for candidate in list(candidates):
        if candidate._pid == os.getpid():
            candidate._request_stop()  # first: a candidate that wins meanwhile checks this request
            wait = candidate._wait
            if candidate._leadership is None and wait is not None:
                wait.cancel()


_registered_pid = 0
"""The PID of the process in which `stop_at_multiprocessing_exit` has registered `stop_at_exit`."""


def stop_at_multiprocessing_exit() -> None:
    """Have `stop_at_exit` called in a child of `multiprocessing` too, whatever its start method.

    A forked child ends by os._exit, after the finalizers of multiprocessing: Python runs no exit
    handlers there. A program that does not use multiprocessing does not import it here.
    """
    global _registered_pid  # noqa: PLW0603
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if (
        process is None
        or util is None
        or process.parent_process() is None
        or _registered_pid == os.getpid()
    ):
        return
    _registered_pid = os.getpid()
    # Priority 100: run before the finalizers of queues and pools (15 at most). A task may need these.
    util.Finalize(None, stop_at_exit, exitpriority=100)


atexit.register(stop_at_exit)
