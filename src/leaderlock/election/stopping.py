"""`Leadership.stopping`: the event that tells a task to stop."""

from __future__ import annotations

from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.eventloop import refuse_to_block


class Stopping(NativeEvent):
    """A `NativeEvent` that refuses to block an event loop."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, or for `timeout` seconds; return whether the event is set.

        Raises:
            BlocksEventLoop: an event loop runs in this thread.
        """
        refuse_to_block(
            "leadership.stopping.wait()",
            "write `async for _ in leadership.every(...)` or `await {library}.sleep(...)`; a coroutine "
            "is cancelled when it is asked to stop",
        )
        return super().wait(timeout)
