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
        """A lock, or whatever else can be released."""

        def release(self) -> object:
            """Called in the thread that sets the event; again, if that was broken off. See `set`."""

    _Event = threading.Event
else:
    # gevent puts a class of its own in place of Event, which a native thread must not inherit from.
    _Event = threading.Event if threading.Event.__module__ == "threading" else object


class NativeEvent(_Event):
    """The interface of `threading.Event`, built on native locks alone.

    A green thread of gevent or eventlet waits by its hub, which runs on. Any thread may set the event.

    No step needs a mutex: a waiter queues up before it looks whether the event is set, and `set` marks
    it before it wakes the queue. So a signal handler may call anything here, wherever it interrupts.
    A waiter stays in the queue until it leaves by itself: if a handler raises in `set`, another `set`
    wakes all that the first one has not woken.
    """

    _is_set = False

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __repr__(self) -> str:
        state = "set" if self._is_set else "unset"
        return f"<{type(self).__qualname__} at {id(self):#x}: {state}>"

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake all who wait."""
        self._is_set = True
        for waiter in list(self._waiters):
            try:
                waiter.release()
            except RuntimeError:  # a lock that was released before
                pass

    def clear(self) -> None:
        """Unset it."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; whether it is set."""
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
        """Release the waiter when the event is set meanwhile, or at once if it is set."""
        self._waiters.append(waiter)
        try:
            if self._is_set:
                with contextlib.suppress(RuntimeError):  # a lock that `set` has released
                    waiter.release()
            yield
        finally:
            with contextlib.suppress(ValueError):  # it was cleared in a forked child
                self._waiters.remove(waiter)

    def set_in_forked_child(self) -> None:
        """Set it where no thread but this one is left, and so none that waits."""
        self._waiters = []
        self._is_set = True
