"""A wait that another thread can cancel, whatever it is that blocks."""

from __future__ import annotations

import sys

from leaderlock.kernel.threads import RLock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Real-time signals that are rarely used; the first one without a handler is taken. The signal gets a
# handler that does nothing, since an ignored signal interrupts no call. macOS has no real-time signals:
# SIGURG there, which is ignored by default.
INTERRUPTING_SIGNALS = (59, 58, 57, 56) if sys.platform == "linux" else (16,)

_shared_signal = 0


def share_signal() -> None:
    """Interrupt waits by a signal that has the caller's handler, which must tolerate these signals."""
    global _shared_signal  # noqa: PLW0603  (signal dispositions belong to the process)
    _shared_signal = INTERRUPTING_SIGNALS[0]


def shared_signal() -> int:
    """The signal that `share_signal` has chosen; 0 if it was not called."""
    return _shared_signal


class Wait:
    """One wait that any thread can cancel; used once.

    Attributes:
        before_parking: called just before the wait blocks.
        cancelled: whether `cancel` was called.
        is_by_signal: whether the interruption signals the waiter's thread.
    """

    __slots__ = (
        "_interrupt",
        "_mutex",
        "before_parking",
        "cancelled",
        "is_by_signal",
    )

    def __init__(self, before_parking: Callable[[], None] | None = None) -> None:
        self.cancelled = False
        self.before_parking = before_parking
        self._mutex = RLock()  # a signal handler may call `cancel` while its thread is inside `cancel`
        self._interrupt: Callable[[], object] | None = None
        self.is_by_signal = False

    def cancel(self) -> None:
        """Cancel the wait, or the next one if none runs: `blocking` and `flock` return False."""
        self.cancelled = True
        if self.is_by_signal:
            # In a new thread, where no signal handler can run: a handler that interrupts this half way,
            # calls `cancel` too, and then waits for the waiter, would wait for the code it interrupted.
            try:
                start_new_thread(self._call_off, ())
                return
            except RuntimeError:  # the system has no thread left
                pass
        self._call_off()

    def _call_off(self) -> None:
        self.cancelled = True
        with self._mutex:
            if self._interrupt is not None:
                self._interrupt()

    def blocking(self, call: Callable[[], object], interrupt: Callable[[], None]) -> bool:
        """Run `call`, which `cancel` ends by calling `interrupt`; False if the wait was cancelled."""
        with self._mutex:
            if self.cancelled:
                return False
            self._interrupt = interrupt
        try:
            call()
        finally:
            self._interrupt = None  # first: another exception may interrupt the wait for the mutex
            with self._mutex:
                pass
        return not self.cancelled
