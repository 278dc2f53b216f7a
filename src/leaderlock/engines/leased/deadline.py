"""The kernel kills this process at a moment, unless the moment is moved: a leader is dead in time."""

from __future__ import annotations

import errno
import os

from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import RLock

try:  # now: before a fork, and before the process waits
    from leaderlock.kernel import timer as kernel_timer
except ImportError as error:  # not Linux; a Python without ctypes
    kernel_timer = None  # type: ignore[assignment]
    _reason = str(error)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.timer import Timer


class Deadline:
    """A moment of CLOCK_MONOTONIC at which the kernel sends SIGKILL to this process.

    The kernel also kills a stopped process, and one whose native code holds the GIL. A forked child has
    no deadline. Any thread may call the methods.
    """

    def __init__(self) -> None:
        self._timer: Timer | None = None
        self._pid = os.getpid()
        self._mutex = RLock()

    def move(self, moment: float) -> None:
        """Set the moment. If the moment has passed already, the process ends in this call.

        Raises:
            LeaderLockError: the user's limit of pending signals is used up.
        """
        with self._mutex:
            if self._timer is None:
                self._timer = _timer()
            self._timer.expire_at(moment)

    def stop(self) -> None:
        """Let the process live; `move` sets a new moment."""
        if self._pid != os.getpid():  # the mutex may be locked for good
            return
        with self._mutex:
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.delete()


def require_timer() -> None:
    """Refuse early, before a candidate waits, where the kernel could not kill this process.

    Raises:
        Unsupported: there is no such timer here, or this process is PID 1.
        LeaderLockError: the user's limit of pending signals is used up.
    """
    if os.getpid() == 1:  # pid_namespaces(7): the kernel ignores a SIGKILL from inside
        raise Unsupported(
            "an election over the network must be able to kill its process, and the kernel does not "
            "kill PID 1: run this under an init, such as `leaderlock init -- COMMAND`"
        )
    _timer().delete()


def _timer() -> Timer:
    if kernel_timer is None:
        raise Unsupported(f"an election over the network needs timer_create(2): {_reason}")
    try:
        return kernel_timer.Timer(signal.SIGKILL, 1)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise LeaderLockError(
                "no timer is left for the deadline of a leader: raise the limit of pending signals "
                "(ulimit -i)"
            ) from error
        raise Unsupported(f"an election over the network needs timer_create(2): {error}") from error
