"""filelock's `FileLock`, whose waiters sleep in the kernel.

filelock's own acquisition is unchanged: it tries to lock. Instead of its sleep before the next try, it
waits for the lock in flock(2), and the next try gets the locked descriptor.
"""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING

import filelock

from leaderlock.interop.patience import BoundedWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from leaderlock.kernel.descriptors import Descriptor


MAKES_DIRECTORY_ONCE = tuple(map(int, filelock.__version__.split(".")[:2])) >= (4, 3)
"""Whether a directory that is removed during a wait is missed, and not made anew by the next try."""


class _Granted:
    """Locked descriptors, from the thread that waited to filelock's next try."""

    def __init__(self) -> None:
        self.descriptors: list[Descriptor] = []


class _GrantedToThread(_Granted, threading.local):
    """The same for each thread separately, if filelock's own state is kept for each thread."""


class _OwnTries(threading.local):
    """How often this thread has tried to lock the file; other threads may wait for the same object."""

    count = 0


def is_soft(lock: filelock.UnixFileLock) -> bool:
    """Whether filelock has made the lock a soft lock, since the file system has no flock."""
    # Up to filelock 4.2, a fallback to a soft lock changes the object's class.
    return isinstance(lock, filelock.SoftFileLock) or getattr(lock._context, "soft_fallback", False)


class TakesGranted(filelock.UnixFileLock):
    """A filelock that accepts a descriptor which is already locked.

    It uses that descriptor instead of opening the file. The rest is filelock's own: it locks the
    descriptor again, which the kernel grants at once, and checks the file.
    """

    def _granted(self) -> list[Descriptor]:
        kind = _GrantedToThread if self.is_thread_local() else _Granted
        granted: _Granted = self.__dict__.setdefault("_granted_here", kind())
        return granted.descriptors

    def _own_tries(self) -> _OwnTries:
        tries: _OwnTries = self.__dict__.setdefault("_own_tries_here", _OwnTries())
        return tries

    def _acquire(self) -> None:
        tries = self._own_tries()  # before the try, which may change the object's class
        try:
            super()._acquire()
        finally:
            tries.count += 1

    # Up to filelock 4.2 this method has no arguments, and returns the descriptor and whether it created
    # the file. From 4.3 on, it adds the descriptor to one of two lists, for new and for existing files.
    def _open_lock_file(self, *opened: list[int]) -> object:  # type: ignore[override]
        granted = self._granted()
        if not granted:
            return super()._open_lock_file(*opened)
        descriptor = granted.pop()
        fd = descriptor.fd
        if opened:
            opened[1].append(fd)
        descriptor.forget()  # filelock closes it from now on, in forked children too
        return fd if opened else (fd, False)

    def _withdraw(self, descriptor: Descriptor) -> None:
        """Close the descriptor, unless filelock has taken it."""
        try:
            self._granted().remove(descriptor)
        except ValueError:  # filelock has taken it
            return
        descriptor.close()


class FileLock(TakesGranted):
    """A `filelock.FileLock` that waits without polling, and that the kernel wakes.

    Every argument of the original is accepted. `poll_interval` matters only where the kernel cannot
    help: it is the interval between calls of `cancel_check` (the lock itself is still acquired at
    once), and between looks of threads that share one object (``thread_local=False``) and wait for
    their turn. On a file system without flock (ENOSYS), with ``fallback_to_soft``, the lock becomes
    filelock's soft lock, which polls. A wait blocks its thread in a system call: under gevent or
    eventlet use the original.
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
        """Acquire the lock like `filelock.BaseFileLock.acquire`.

        Args:
            timeout: the longest wait in seconds; negative: without limit; None: the object's timeout.
            poll_interval: seconds between two calls of `cancel_check`.
            poll_intervall: an old spelling.
            blocking: whether to wait at all.
            cancel_check: called in this thread during the wait; if it returns true, the wait ends.

        Raises:
            filelock.Timeout: the time has passed, or `cancel_check` has ended the wait.
            RuntimeError: another object of this thread holds the lock, or the object belongs to the
                parent of this forked process.
            TypeError, ValueError: an argument is invalid.
        """
        if poll_intervall is not None:
            warnings.warn("use poll_interval instead of poll_intervall", DeprecationWarning, 2)
            poll_interval = poll_intervall
        patience = BoundedWait(
            self.lock_file,
            self.timeout if timeout is None else timeout,
            self.poll_interval if poll_interval is None else poll_interval,
            cancel_check,
        )
        descriptor: Descriptor | None = None
        tries = self._own_tries()
        tries_before = tries.count

        # filelock calls this where it would sleep: after a failed try, and also while another thread
        # tries with this object. That thread's success counts for us too: do not queue for the file.
        def wait() -> bool:
            nonlocal descriptor, tries_before
            if tries.count == tries_before or is_soft(self):
                return patience.is_cancelled()
            tries_before = tries.count
            descriptor = patience.wait()
            if descriptor is not None:
                self._granted().append(descriptor)
            elif MAKES_DIRECTORY_ONCE and not patience.was_cancelled:
                patience.require_directory()
            return patience.was_cancelled

        try:
            return super().acquire(timeout, poll_interval, blocking=blocking, cancel_check=wait)
        finally:
            if descriptor is not None:
                self._withdraw(descriptor)

    def _poll_delay(self, poll_interval: float, attempt: int) -> float:
        return 0 if self._granted() else super()._poll_delay(poll_interval, attempt)
