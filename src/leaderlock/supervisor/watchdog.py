"""The command's watchdog: the command must report that it is ready, and then beat in time."""

from __future__ import annotations

from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop, LoopTimer


class Watchdog:
    """The deadlines of one start of the command.

    Args:
        loop: runs the timers.
        interval: the longest time in seconds between beats; None if the command need not beat.
        ready_timeout: seconds until ``READY=1``; None if the command need not send it. Its beats are
            then due from the start.
        on_failure: called once, with the reason.
    """

    def __init__(
        self,
        loop: Loop,
        interval: float | None,
        ready_timeout: float | None,
        on_failure: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._on_failure = on_failure
        self._timer: LoopTimer | None = None
        self._is_over = False
        self.is_ready = ready_timeout is None
        if ready_timeout is not None:
            reason = f"it did not send READY=1 within {ready_timeout:g} s"
            self._timer = loop.call_later(ready_timeout, lambda: self._fail(reason))
        else:
            self.beat()

    def ready(self) -> None:
        """Note that the command is ready: from now on it must beat."""
        if not self.is_ready:
            self.is_ready = True
            self.beat()

    def beat(self) -> None:
        """Restart the interval."""
        if not self.is_ready or self._is_over:
            return
        self._cancel()
        interval = self._interval
        if interval is not None:
            reason = f"it missed its beat of {interval:g} s"
            self._timer = self._loop.call_later(interval, lambda: self._fail(reason))

    def set_interval(self, seconds: float) -> None:
        """Set another interval, as the command asked for (``WATCHDOG_USEC=``)."""
        self._interval = seconds
        self.beat()

    def extend(self, seconds: float) -> None:
        """Wait for ``READY=1`` for at least this many seconds from now (``EXTEND_TIMEOUT_USEC=``)."""
        if not self.is_ready and self._timer is not None and self._timer.left() < seconds:
            function = self._timer.function
            self._timer.cancel()
            self._timer = self._loop.call_later(seconds, function)

    def trigger(self) -> None:
        """Act as if the command had missed a beat, as it asked for (``WATCHDOG=trigger``)."""
        self._fail("it asked for it (WATCHDOG=trigger)")

    def disarm(self) -> None:
        """Stop watching and ignore further beats: a command that is being stopped need not beat."""
        self._is_over = True
        self._cancel()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, reason: str) -> None:
        if self._is_over:  # the command is being stopped already, and sends more triggers
            return
        self.disarm()
        say(f"the command seems to hang, so leaderlock stops it: {reason}")
        self._on_failure(reason)
