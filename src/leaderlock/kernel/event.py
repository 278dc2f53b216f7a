"""A `threading.Event` for native and for green threads: each waits in its own way."""

from __future__ import annotations

import contextlib
import threading

from leaderlock.kernel.green import hub_here
from leaderlock.kernel.threads import TIMEOUT_MAX, allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Waiter(Protocol):
        """A lock, or another object that can be released."""

        def release(self) -> object:
            """`set` calls this in its own thread, and again if an exception interrupted `set`."""

    _Event = threading.Event
else:
    # gevent replaces Event by a class of its own, which must not be the base of an event for native
    # threads.
    _Event = threading.Event if threading.Event.__module__ == "threading" else object


class NativeEvent(_Event):
    """The interface of `threading.Event`, built on native locks alone.

    A green thread of gevent or eventlet waits through its hub, which keeps running. Any thread may set
    the event.

    No step needs a mutex: a waiter enters the queue before it checks whether the event is set, and
    `set` marks the event before it wakes the queue. So a signal handler may call any method, wherever
    the handler interrupts. Only the waiter removes itself from the queue: if a handler raises in `set`,
    another `set` wakes the waiters that the first one has not woken.
    """

    _is_set = False

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __repr__(self) -> str:
        state = "set" if self._is_set else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x}: {state}>"

    def is_set(self) -> bool:
        """Whether the event is set."""
        return self._is_set

    def set(self) -> None:
        """Set the event, and wake all waiters."""
        self._is_set = True
        for waiter in list(self._waiters):
            try:
                waiter.release()
            except RuntimeError:  # a lock that was released before
                pass

    def clear(self) -> None:
        """Unset the event."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set, for at most `timeout` seconds; return whether it is set."""
        if self._is_set:
            return True
        hub = hub_here()
        waiter = allocate_lock() if hub is None else hub.event()
        if hub is None:
            waiter.acquire()
        limit = -1 if timeout is None else min(max(timeout, 0), TIMEOUT_MAX)
        with self.releasing(waiter):
            return bool(waiter.acquire(True, limit)) or self._is_set

    @contextlib.contextmanager
    def releasing(self, waiter: Waiter) -> Iterator[None]:
        """Release the waiter if the event is set inside the block, or at once if it is set already."""
        self._waiters.append(waiter)
        try:
            if self._is_set:
                with contextlib.suppress(RuntimeError):  # a lock that `set` has released
                    waiter.release()
            yield
        finally:
            with contextlib.suppress(ValueError):  # `set_in_forked_child` emptied the list
                self._waiters.remove(waiter)

    def set_in_forked_child(self) -> None:
        """Set the event in a forked child, which has only this thread, and so no waiter."""
        self._waiters = []
        self._is_set = True
