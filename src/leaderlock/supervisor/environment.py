"""What a command finds when it starts: its environment, and a bond to us."""

from __future__ import annotations

import os
import sys

from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.lock import LeaderLock


def environment(lock: LeaderLock | None) -> dict[str, str]:
    """The command's environment: ours, with the term and the path of the lock."""
    variables = dict(os.environ)
    if lock is not None:
        variables["LEADERLOCK_TERM"] = str(lock.term)
        variables["LEADERLOCK_PATH"] = lock.path
    return variables


def binding() -> Callable[[], None] | None:
    """To be called in the child: under a lock it must not outlive us, or two would do the job."""
    if sys.platform != "linux":
        return None
    from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (needs ctypes)

    ours = os.getpid()
    return lambda: die_with_parent(signal.SIGKILL, ours)
