"""The status of one lock: gathers the facts, and then judges them."""

from __future__ import annotations

import os
import time

from leaderlock.lock.holder import open_for_reading
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.status.gathering.lock import facts_about
from leaderlock.status.gathering.opened import open_at, open_lock
from leaderlock.status.gathering.view import View
from leaderlock.status.judging.lock import status_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status.gathering.opened import Opened
    from leaderlock.status.model import LockStatus


def status_of(lock: str | os.PathLike[str] | LeaderLock) -> LockStatus:
    """The holder of a lock, the waiting processes, and the problems of the lock.

    Args:
        lock: a path, also one from `all_locks`, or a lock object (also an anonymous one).

    Raises:
        LeaderLockError: the file does not exist, is no lock file or may not be examined by us; or this
            is not Linux.
    """
    view = View()
    if isinstance(lock, LeaderLock):
        if lock.path.startswith("memfd:"):
            fd = open_for_reading(lock)
            assert fd is not None  # None is possible only for a path
            try:
                with open_lock(f"/proc/{os.getpid()}/fd/{fd}") as opened:
                    return _status(opened, view)
            finally:
                os.close(fd)
        lock = lock.path
    with open_at(lock, view) as opened:
        return _status(opened, view)


def _status(opened: Opened, view: View) -> LockStatus:
    [facts] = facts_about([opened], view)
    return status_from(facts, view.asker, time.time())
