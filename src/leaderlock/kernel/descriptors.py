"""Descriptors that a forked child must not keep.

A flock belongs to the open file description, and fork(2) gives the child a second descriptor of it:
as long as the child lives, the lock does, whoever has been killed. Linux has no close-on-fork flag, so
every descriptor of ours stands in a table, and a forked child closes what it finds there. Opening and
closing go together with the table's change, as seen by any fork, which waits for the mutex.

Children that a C program forks without Python's at-fork handlers (uWSGI's workers) call `adopt` when
they make or use a lock.
"""

from __future__ import annotations

import errno
import os

from leaderlock.kernel.threads import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HIGH = 960
"""Below 1024, which is many a process's limit, and the most that select(2) takes."""

_mutex = RLock()  # reentrant: a signal handler may fork while its thread is inside
_registered: dict[int, os.stat_result] = {}  # with fstat(2), to know it again
owner_pid = os.getpid()


class Descriptor:
    """An open file, which is closed in forked children.

    Attributes:
        fd: its number; -1 when it is closed.
        status: fstat(2) of what was opened.
    """

    __slots__ = ("fd", "status")

    def __init__(self, path: str, flags: int, mode: int = 0o777) -> None:
        with _mutex:
            self.fd = fd = os.open(path, flags, mode)
            try:
                self.status = _registered[fd] = os.fstat(fd)
            except BaseException:  # a signal handler's
                os.close(fd)
                raise

    @classmethod
    def made_by(cls, make: Callable[[], int]) -> Descriptor:
        """The descriptor that a function returns, which is not opened by a path."""
        made = cls.__new__(cls)
        with _mutex:
            made.fd = make()
            try:
                made.status = _registered[made.fd] = os.fstat(made.fd)
            except BaseException:  # a signal handler's
                os.close(made.fd)
                raise
        return made

    def move_up(self) -> None:
        """Give it a high number, if one is to be had.

        The kernel closes what a dying process has open from the highest number down, and takes some 10
        ms for an inotify (tests/test_split_brain.py). Who waits for the lock need not wait for that.
        """
        import fcntl  # noqa: PLC0415  (Windows has none; who gets here has imported it)

        with _mutex:
            try:
                high = fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
            except OSError:  # EINVAL: the limit (RLIMIT_NOFILE) is lower; EMFILE
                return
            low, self.fd = self.fd, high
            _registered[high] = self.status
            del _registered[low]
            os.close(low)

    def is_open(self) -> bool:
        """Whether the number still leads to the file: no other code has closed or reused it."""
        return leads_to(self.fd, self.status)

    def close(self) -> None:
        """Close it, if that has not been done."""
        with _mutex:
            fd, self.fd = self.fd, -1
            if fd < 0 or _registered.get(fd) is not self.status:  # it was closed, here or at a fork
                return
            try:
                del _registered[fd]
            finally:
                try:  # not contextlib.suppress, which takes longer than all the rest
                    os.close(fd)
                except OSError:  # EBADF: a wait was called off that way (`Wait`)
                    pass

    def forget(self) -> None:
        """Leave it unclosed: the number is somebody else's by now."""
        with _mutex:
            fd, self.fd = self.fd, -1
            if _registered.get(fd) is self.status:
                del _registered[fd]


def adopt() -> None:
    """In a forked child: close what the parent had registered. Nothing is unlocked by that."""
    global owner_pid, _mutex  # noqa: PLW0603  (they belong to the process, which is a new one)
    if os.getpid() == owner_pid:
        return
    owner_pid = os.getpid()
    _mutex = RLock()
    for fd, status in _registered.items():
        if leads_to(fd, status):  # and was not closed or reused by a daemoniser before us
            os.close(fd)
    _registered.clear()


def leads_to(fd: int, status: os.stat_result) -> bool:
    """Whether a descriptor is open and leads to the file with this fstat(2)."""
    try:
        now = os.fstat(fd)
    except OSError as error:
        # ESTALE: it is open, and another client of the network file system has deleted the file.
        return error.errno == errno.ESTALE
    return now.st_ino == status.st_ino and now.st_dev == status.st_dev


def _hold_still() -> None:
    _mutex.acquire()


def _go_on() -> None:
    _mutex.release()


def _go_on_in_child() -> None:
    global _mutex  # noqa: PLW0603
    # Not released: uWSGI's py-call-osafterfork comes here without `_hold_still`.
    _mutex = RLock()
    adopt()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_hold_still,
        after_in_parent=_go_on,
        after_in_child=_go_on_in_child,
    )
