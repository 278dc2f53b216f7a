"""filelock's `FileLock`, whose waiters sleep in the kernel.

All of filelock's own acquisition is kept: it tries, and where it would sleep until the next try, it is
made to wait for the lock in flock(2) and then given the locked descriptor.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

import filelock

from leaderlock.interop.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from leaderlock.kernel.descriptors import Descriptor


class _Granted:
    """Locked descriptors on their way from the one who has waited to filelock's next try."""

    def __init__(self) -> None:
        self.descriptors: list[Descriptor] = []


class _GrantedToThread(_Granted, threading.local):
    """The same, of each thread: where filelock's own state is of each thread."""


class TakesGranted(filelock.UnixFileLock):
    """A filelock that takes a descriptor which is locked already."""

    def _granted(self) -> list[Descriptor]:
        kind = _GrantedToThread if self.is_thread_local() else _Granted
        granted: _Granted = self.__dict__.setdefault("_granted_here", kind())
        return granted.descriptors

    def _acquire(self) -> None:
        granted = self._granted()
        if not granted:
            super()._acquire()
            return
        descriptor = granted.pop()
        status = descriptor.status
        self._mark_descriptor_owned(descriptor.fd, (status.st_dev, status.st_ino))
        descriptor.forget()  # filelock closes it from now on, in forked children too

    def _take_back(self, descriptor: Descriptor) -> None:
        """Close it, if filelock has not taken it."""
        try:
            self._granted().remove(descriptor)
        except ValueError:  # it has
            return
        descriptor.close()


class FileLock(TakesGranted):
    """A `filelock.FileLock` whose waiter costs no wakeups and is woken by the kernel.

    Every argument of the original is accepted. `poll_interval` matters where the kernel cannot help:
    it is how often `cancel_check` is asked (the lock itself is had at once, all the same), and how
    often threads that share one object (``thread_local=False``) look whether it is their turn. On a
    file system without flock (ENOSYS), with ``fallback_to_soft``, it becomes filelock's soft lock,
    which polls. A wait blocks its thread in a system call: under gevent or eventlet use the original.
    """

    def acquire(
        self,
        timeout: float | None = None,
        poll_interval: float | None = None,
        *,
        poll_intervall: float | None = None,
        blocking: bool | None = None,
        cancel_check: Callable[[], bool] | None = None,
    ) -> filelock.AcquireReturnProxy[Self]:
        """Acquire the lock as `filelock.BaseFileLock.acquire` does.

        Args:
            timeout: the longest wait in seconds; negative: without limit; None: that of the object.
            poll_interval: seconds between two calls of `cancel_check`.
            poll_intervall: an old spelling.
            blocking: whether to wait at all.
            cancel_check: called while it waits, in this thread; when it returns true, the wait ends.

        Raises:
            filelock.Timeout: the time has passed, or `cancel_check` has ended the wait.
            RuntimeError: another object of this thread holds the lock, or the object is a forked
                parent's.
            TypeError, ValueError: an argument is not of its form.
        """
        if poll_intervall is not None:
            warnings.warn("use poll_interval instead of poll_intervall", DeprecationWarning, 2)
            poll_interval = poll_intervall
        patience = Patience(
            self.lock_file,
            self.timeout if timeout is None else timeout,
            self.poll_interval if poll_interval is None else poll_interval,
            cancel_check,
        )
        descriptor: Descriptor | None = None

        def wait() -> bool:  # filelock calls it when a try has failed, before it would sleep
            nonlocal descriptor
            if isinstance(self, filelock.SoftFileLock):  # it has become one
                return patience.is_cancelled()
            descriptor = patience.wait()
            if descriptor is not None:
                self._granted().append(descriptor)
            return patience.was_cancelled

        try:
            return super().acquire(timeout, poll_interval, blocking=blocking, cancel_check=wait)
        finally:
            if descriptor is not None:
                self._take_back(descriptor)

    def _poll_delay(self, poll_interval: float, attempt: int) -> float:
        return 0 if self._granted() else super()._poll_delay(poll_interval, attempt)
