"""A native thread that waits for a lock, so that the caller's thread need not block."""

from __future__ import annotations

from leaderlock.kernel.flock import flock
from leaderlock.kernel.native_thread import NativeThread
from leaderlock.kernel.wait import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Parked:
    """A wait for the exclusive lock of a descriptor; begins when the object is made.

    Args:
        fd: the descriptor; a decoy after a wait that was cancelled: the caller must close it.
        tell: called in the waiting thread when the wait has ended.

    Raises:
        NoThreadLeft: the system starts no more threads.
    """

    def __init__(self, fd: int, tell: Callable[[], object] = lambda: None) -> None:
        self._fd = fd
        self._wait = Wait()
        self._granted = False
        self._error: BaseException | None = None
        self._thread = NativeThread(self._run, tell)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._granted = flock(self._fd, self._wait)
        except BaseException as error:  # noqa: BLE001  (`granted` raises it in the caller's thread)
            self._error = error

    def has_ended(self, seconds: float | None) -> bool:
        """Wait at most so many seconds (None: no limit) until the wait ends; return whether it has."""
        return self._thread.wait(seconds)

    def granted(self) -> bool:
        """Whether the lock was granted; raises the wait's exception. Call this after the end only."""
        if self._error is not None:
            raise self._error
        return self._granted

    def call_off(self) -> None:
        """Cancel the wait, if it runs; when this returns, the thread no longer uses the descriptor."""
        self._wait.cancel()
        self._thread.wait()
