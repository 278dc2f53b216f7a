"""The end of a process that leads: the task is asked to stop before the leadership passes on."""

from __future__ import annotations

import atexit
import os
import time

from leaderlock.kernel.threads import get_ident
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.candidate import Candidate

EXIT_GRACE = 5.0
"""Seconds that the task of a leader has, at the interpreter's exit, to end after it was asked to."""

candidates: set[Candidate] = set()
"""Those that run or lead: kept alive here, so that a lock is not lost with a variable."""


def stop_at_exit() -> None:
    """Ask the tasks of this process to stop; standbys cost the exit nothing, and lead no more."""
    mine = [candidate for candidate in candidates if candidate._pid == os.getpid()]
    for candidate in mine:
        candidate._say_that_we_exit()
        candidate._request_stop()
    myself = get_ident()  # a task that exits by a signal handler: it cannot wait for itself
    leading = [c for c in mine if c._leadership is not None and c._thread != myself and not c._ended]
    for candidate in leading:
        candidate._ask_to_stop()
    deadline = time.monotonic() + EXIT_GRACE
    for candidate in leading:
        if not candidate._until_ended(deadline - time.monotonic()):
            log().warning(
                "the task for %s did not stop within %g s of the interpreter's exit; "
                "the leadership passes on as the process ends",
                candidate._lock.path,
                EXIT_GRACE,
            )


atexit.register(stop_at_exit)
