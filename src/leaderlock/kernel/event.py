"""A `threading.Event` whose waiters block natively, also where gevent or eventlet has patched."""

from __future__ import annotations

import threading

from leaderlock.kernel.threads import TIMEOUT_MAX, RLock, allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    _Event = threading.Event
else:
    # gevent puts a class of its own in place of Event, which a native thread must not inherit from.
    _Event = threading.Event if threading.Event.__module__ == "threading" else object


class NativeEvent(_Event):
    """The interface of `threading.Event`, built on native locks alone."""

    def __init__(self) -> None:
        # RLock, since a signal handler may call set() while the main thread is inside set().
        self._mutex = RLock()
        self._is_set = False
        self._waiters: list[Any] = []

    def __repr__(self) -> str:
        state = "set" if self._is_set else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x}: {state}>"

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all who wait."""
        with self._mutex:
            self._is_set = True
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def clear(self) -> None:
        """Unset it."""
        with self._mutex:
            self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; whether it is set."""
        with self._mutex:
            if self._is_set:
                return True
            waiter = allocate_lock()
            waiter.acquire()
            self._waiters.append(waiter)
        limit = -1 if timeout is None else min(max(timeout, 0), TIMEOUT_MAX)
        try:
            return bool(waiter.acquire(True, limit)) or self._is_set
        finally:
            with self._mutex:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def set_in_forked_child(self) -> None:
        """Set it where no thread but this one is left: what other threads held is not waited for."""
        self._mutex = RLock()
        self._waiters = []
        self._is_set = True
