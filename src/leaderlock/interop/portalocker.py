"""portalocker's `Lock` and `RLock`, whose waiters sleep in the kernel.

portalocker's own acquisition is unchanged except for its pauses between tries: there is one pause, a
flock(2) on the file that is already open, and the next try finds the lock granted.
"""

from __future__ import annotations

import fcntl
import threading
from typing import IO, TYPE_CHECKING, Any, TypeVar

import portalocker
from portalocker import portalocker as primitives

from leaderlock.kernel.flock import flock
from leaderlock.kernel.threads import TIMEOUT_MAX
from leaderlock.kernel.wait import Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

F = TypeVar("F", bound=IO[Any])


class Lock(portalocker.Lock[F]):
    """A `portalocker.Lock` that waits without polling, and that the kernel wakes.

    Every argument of the original is accepted. `check_interval` has no effect, except for a shared lock
    (``LockFlags.SHARED``), or if ``portalocker.portalocker.LOCKER`` is not flock(2): these wait like
    the original. A wait blocks its thread in a system call: under gevent or eventlet use the original.
    """

    def _get_lock(self, fh: F) -> F:
        self._opened().file = fh
        return super()._get_lock(fh)

    def _opened(self) -> threading.local:
        """The file that this thread has opened: several threads may use one object at the same time."""
        opened: threading.local = self.__dict__.setdefault("_opened_here", threading.local())
        return opened

    def _timeout_generator(self, timeout: float | None, check_interval: float | None) -> Iterator[int]:
        # portalocker tries once for each number that this generator yields.
        tries = super()._timeout_generator(timeout, check_interval)
        if self.flags & portalocker.LockFlags.SHARED or primitives.LOCKER is not fcntl.flock:
            yield from tries
            return
        opened = self._opened()
        try:
            yield next(tries)
            file = getattr(opened, "file", None)
            if file is None:  # a subclass locks in its own way
                yield from tries
                return
            seconds = self.timeout if timeout is None else timeout
            # After a timeout the descriptor is a decoy, which portalocker closes.
            if seconds > 0 and flock(file.fileno(), Wait(), None if seconds > TIMEOUT_MAX else seconds):
                yield 1
        finally:
            opened.file = None


class RLock(Lock[F], portalocker.RLock[F]):
    """A `portalocker.RLock` that waits without polling, and that the kernel wakes; see `Lock`."""
