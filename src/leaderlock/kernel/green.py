"""Green threads: the hub of gevent or eventlet, where one of these libraries has patched `threading`.

A green thread runs only while its hub runs, in the hub's native thread. So a green thread must wait
through the hub, and a native thread must hand over to the hub a function that is to run there. Nothing
is imported here: the code that patched has imported the library.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
from collections import deque

from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.threads import get_ident, threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Hub(Protocol):
        """The hub of one native thread, in this process.

        Attributes:
            native: the library's own object.
            pid: the process in which this object was made.
        """

        native: Any
        pid: int

        def call(self, function: Callable[[], object]) -> None:
            """Call a function soon, in the hub itself, where it must not wait; from any thread.

            Raises:
                HubIsGone: the function will never be called.
            """

        def spawn(self, function: Callable[[], object]) -> None:
            """Run a function in a new green thread; from any thread.

            Raises:
                HubIsGone: the function will never run.
            """

        def is_current(self) -> bool:
            """Whether the caller runs in a green thread of this hub, and so may wait through it."""

        def event(self) -> GreenEvent:
            """A new event, for one wait of one green thread of this hub."""

    class GreenEvent(Protocol):
        """An event for one green thread, at first not set; it is used like a lock that is held."""

        def release(self) -> None:
            """End the wait; from any thread."""

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            """Wait for the release, for at most `timeout` seconds; return whether it happened."""


class HubIsGone(Exception):
    """The hub was destroyed, so nothing will ever run in it."""


class _Calls:
    """Functions that a hub is to call: any thread puts them in, and the hub runs them."""

    def __init__(self) -> None:
        self._functions: deque[Callable[[], object]] = deque()

    def put(self, function: Callable[[], object]) -> None:
        self._functions.append(function)

    def run(self) -> None:
        while self._functions:
            try:
                function = self._functions.popleft()
            except IndexError:  # a nested call of the hub was faster
                return
            function()


class _GeventHub:
    def __init__(self, native: Any) -> None:
        self.native = native
        self.pid = os.getpid()
        self._calls = _Calls()
        # ref=False: a candidate alone does not keep a program alive. Any thread may send to the bell.
        from gevent.event import Event  # noqa: PLC0415  (gevent has patched, so it is imported)

        self.new_event = Event
        self._bell = native.loop.async_(ref=False)
        self._bell.start(self._calls.run)

    def call(self, function: Callable[[], object]) -> None:
        self._calls.put(function)
        try:
            self._bell.send()
        except ValueError as error:  # the loop was destroyed
            raise HubIsGone from error

    def spawn(self, function: Callable[[], object]) -> None:
        self.call(lambda: sys.modules["gevent"].spawn(function))

    def is_current(self) -> bool:
        return (
            sys.modules["gevent._hub_local"].get_hub_if_exists() is self.native
            and sys.modules["gevent"].getcurrent() is not self.native
        )

    def event(self) -> GreenEvent:
        return _GeventEvent(self)


class _GeventEvent:
    def __init__(self, hub: _GeventHub) -> None:
        self._hub = hub
        self._event = hub.new_event()

    def release(self) -> None:
        with contextlib.suppress(HubIsGone):  # the waiter is gone with the hub
            self._hub.call(self._event.set)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        # Give the loop a watcher: without one, gevent takes the wait for endless and raises LoopExit.
        reason = self._hub.native.loop.async_()
        reason.start(lambda: None)
        try:
            return bool(self._event.wait(None if timeout < 0 else timeout))
        finally:
            reason.stop()
            reason.close()


class _EventletHub:
    def __init__(self, native: Any) -> None:
        self.native = native
        self.pid = os.getpid()
        self._calls = _Calls()
        from eventlet.event import Event  # noqa: PLC0415  (eventlet has patched, so it is imported)

        self.new_event = Event
        # Only a descriptor can wake eventlet. It is an eventfd, since eventlet patches os.write.
        self._bell = Descriptor(inherited=True)  # a forked child's hub watches it too
        self._bell.open_by(os.eventfd, 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        native.add(native.READ, self._bell.fd, self._answer, lambda _: None, None)

    def call(self, function: Callable[[], object]) -> None:
        self._calls.put(function)
        if not self._bell.is_open():  # other code has closed the eventfd
            raise HubIsGone
        os.eventfd_write(self._bell.fd, 1)

    def _answer(self, *_: object) -> None:
        if self._bell.is_open():
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._bell.fd)
        self._calls.run()

    def spawn(self, function: Callable[[], object]) -> None:
        self.call(lambda: sys.modules["eventlet"].spawn(function))

    def is_current(self) -> bool:
        native: Any = getattr(sys.modules["eventlet.hubs"]._threadlocal, "hub", None)
        return native is self.native and sys.modules["greenlet"].getcurrent() is not native.greenlet

    def event(self) -> GreenEvent:
        return _EventletEvent(self)


class _EventletEvent:
    def __init__(self, hub: _EventletHub) -> None:
        self._hub = hub
        self._event = hub.new_event()

    def release(self) -> None:
        with contextlib.suppress(HubIsGone):  # the waiter is gone with the hub
            self._hub.call(self._set)

    def _set(self) -> None:
        if not self._event.ready():
            self._event.send(True)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if timeout < 0:
            return bool(self._event.wait())
        with sys.modules["eventlet"].Timeout(timeout, False):
            return bool(self._event.wait())
        return self._event.ready()


_hubs: list[Hub] = []


def hub_here(*, create: bool = False) -> Hub | None:
    """The hub through which the caller may wait; None in a native thread, or in the hub itself.

    Args:
        create: let the library make a hub if this thread has none, as before its first green thread.
    """
    hub = hub_of_thread(create=create)
    return hub if hub is not None and hub.is_current() else None


def hub_of_thread(*, create: bool = False) -> Hub | None:
    """The hub that belongs to the caller's native thread, if threads are green in this process."""
    if not threads_are_green():
        return None
    if _patched_by("gevent"):
        local = sys.modules["gevent._hub_local"]
        native = local.get_hub() if create else local.get_hub_if_exists()
        kind: Callable[[Any], Hub] = _GeventHub
    elif _patched_by("eventlet"):
        hubs = sys.modules["eventlet.hubs"]
        native = hubs.get_hub() if create else getattr(hubs._threadlocal, "hub", None)
        kind = _EventletHub
    else:
        return None
    if native is None:
        return None
    for hub in _hubs:
        if hub.native is native and hub.pid == os.getpid():
            return hub
    hub = kind(native)
    _hubs[:] = [hub, *(other for other in _hubs if other.pid == hub.pid)]
    return hub


def _patched_by(library: str) -> bool:
    return str(getattr(_thread.start_new_thread, "__module__", "")).startswith(library)


def here() -> object:
    """The caller's identity: its green thread if its native thread has a hub, or the native thread."""
    if hub_of_thread() is not None:
        return sys.modules["greenlet"].getcurrent()
    return get_ident()
