"""Those who wait for a condition that other threads bring about, and tell of."""

from __future__ import annotations

import time

from leaderlock.kernel.event import NativeEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Watchers(list[NativeEvent]):
    """Waits for conditions; whoever changes something calls `tell`, in any thread or signal handler.

    A list of those who wait: an ``__init__`` of its own would cost each standby a page, and a dict of
    its own two.
    """

    __slots__ = ()

    def until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until it holds, or for `timeout` seconds; whether it does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not condition():
            changed = NativeEvent()
            self.append(changed)
            try:
                if condition():  # since the first look, and nobody may have been told of it
                    return True
                if not changed.wait(None if deadline is None else deadline - time.monotonic()):
                    return condition()
            finally:
                self.remove(changed)
        return True

    def tell(self) -> None:
        """Let all who wait look again; again, if a signal handler has raised meanwhile."""
        for changed in list(self):
            changed.set()
