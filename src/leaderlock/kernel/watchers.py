"""Threads that wait for a condition; other threads change the condition and wake the waiters."""

from __future__ import annotations

import time

from leaderlock.kernel.event import NativeEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Watchers(list[NativeEvent]):
    """The waiters for conditions. After a change, call `tell`, in any thread or signal handler.

    For speed (see "How it is built"), the object is itself the list of events, one for each waiter: it
    has neither an ``__init__`` nor an instance dict.
    """

    __slots__ = ()

    def until(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the condition holds, for at most `timeout` seconds; return whether it holds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not condition():
            changed = NativeEvent()
            self.append(changed)
            try:
                if condition():  # changed since the first look: `tell` may have missed this waiter
                    return True
                if not changed.wait(None if deadline is None else deadline - time.monotonic()):
                    return condition()
            finally:
                self.remove(changed)
        return True

    def tell(self) -> None:
        """Let all waiters check again; call this again if a signal handler raised inside it."""
        for changed in list(self):
            changed.set()
