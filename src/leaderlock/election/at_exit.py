"""The end of a process that leads: the task is asked to stop before the leadership passes on."""

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
"""Seconds that the task of a leader has, at the interpreter's exit, to end after it was asked to."""

candidates: set[Candidate] = set()
"""Those that run or lead: kept alive here, so that a lock is not lost with a variable."""


def stop_at_exit() -> None:
    """Ask the tasks of this process to stop; standbys cost the exit nothing, and lead no more."""
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
            # Waited for only once: Python calls this again in a child of multiprocessing. The thread
            # that runs the task keeps the candidate alive.
            candidates.discard(candidate)
            log().warning(
                "the task for %s did not stop within %g s of the interpreter's exit; "
                "the leadership passes on as the process ends",
                candidate.address,
                EXIT_GRACE,
            )


end_notices: list[Callable[[], bool]] = []
"""What servers tell of: each returns whether this process has been told to end."""


def is_ending() -> bool:
    """Whether this process has been told to end, so that it must not begin to lead."""
    return any(notice() for notice in end_notices)


def retire() -> None:
    """This process has been told to end: its standbys leave the queue; a leader's task goes on."""
    for candidate in list(candidates):
        if candidate._pid == os.getpid():
            candidate._request_stop()  # first: who wins meanwhile looks at that
            wait = candidate._wait
            if candidate._leadership is None and wait is not None:
                wait.cancel()


_registered_pid = 0
"""The process that `stop_at_multiprocessing_exit` was called in."""


def stop_at_multiprocessing_exit() -> None:
    """Have `stop_at_exit` called in a child of `multiprocessing` too, whatever its start method.

    Forked ones end by os._exit, after finalizers of multiprocessing's own: Python runs no exit handlers
    there. Nothing is imported for those who do not use it.
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
    # Before the finalizers of queues and pools (15 at most), which a task may still need.
    util.Finalize(None, stop_at_exit, exitpriority=100)


atexit.register(stop_at_exit)
