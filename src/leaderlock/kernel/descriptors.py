"""Descriptors that a forked child must not keep.

A flock belongs to the open file description, and fork(2) gives the child a second descriptor of it:
as long as the child lives, the lock does, whoever has been killed. Linux has no close-on-fork flag, so
every descriptor of ours stands in a table, and a forked child closes what it finds there. Opening and
closing go together with the table's change, as seen by any fork, which waits for the mutex.

Some descriptors are meant for forked children too (a FIFO, an anonymous lock's file). They stand in the
table so that their objects know them again.

Children that a C program forks without Python's at-fork handlers (uWSGI's workers) call `adopt` when
they make or use a lock.
"""

from __future__ import annotations

import errno
import os
from itertools import repeat

from leaderlock.kernel.threads import RLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HIGH = 960
"""Below 1024, which is many a process's limit, and the most that select(2) takes."""

FOR_WATCHES = 512
"""The numbers of those that look out for a lock begin here, below the lock's own: see `move_up`."""

_MARKS = os.O_RDWR | os.O_WRONLY
"""The flags of a descriptor that open(2) has set and fcntl(2) tells: a part of its identity."""
for _flag in ("O_NONBLOCK", "O_NOATIME", "O_NOFOLLOW", "O_APPEND", "O_PATH"):
    _MARKS |= getattr(os, _flag, 0)

_HAS_FLAGS = hasattr(fcntl, "F_GETFL")
_GET_FLAGS = fcntl.F_GETFL if _HAS_FLAGS else 0
_NOT_KNOWN = os.stat_result((0,) * 10)

_mutex = RLock()  # reentrant: a signal handler may fork while its thread is inside
registered: dict[int, Descriptor] = {}
_told_flags: dict[int, int] = {}  # by those given to open(2), as a system may keep other ones
owner_pid = os.getpid()


class Descriptor:
    """An open file, which is closed in forked children.

    Its identity is the object in the table, under its number: whoever registers another descriptor
    under the same number takes the number over, since the kernel gives no number twice. What other
    code has opened under the number is told apart by the file and by the flags. All that has no file
    (eventfd, inotify) shares one inode: these get a flag that does nothing there, O_APPEND.

    Whoever makes one has it before it is opened, and calls `close` in the end: so nothing is lost if a
    signal handler raises at any instant. No instant lies between the system call and the table: the
    interpreter calls handlers after a call and at a jump back (CPython 3.10 to 3.13), and none is in
    between, as the iterator of `map`, which is C code, makes the call, and the loop over it ends before
    its jump back. For the same reason the steps after a look at the table are plain assignments, up to
    the call of close(2).

    Args:
        path, flags, mode: for `open`; nothing is opened without a path.
        inherited: whether forked children keep it, as one of their own.

    Attributes:
        fd: its number; -1 when it is closed.
        status: fstat(2) of what was opened.
    """

    __slots__ = ("_marks", "fd", "inherited", "status")

    def __init__(
        self, path: str = "", flags: int = 0, mode: int = 0o777, *, inherited: bool = False
    ) -> None:
        self.fd = -1
        self.inherited = inherited
        self.status = _NOT_KNOWN
        self._marks = -1  # not known
        if path:
            try:
                self.open(path, flags, mode)
            except BaseException:
                self.close()
                raise

    def open(self, path: str, flags: int, mode: int = 0o777) -> os.stat_result:
        """Open a file; its fstat(2). It must not be open yet."""
        return self.open_next(openings(path, flags, mode), flags)

    def open_next(self, opens: Iterator[int], flags: int) -> os.stat_result:
        """`open`, by what `openings` has returned for these flags."""
        with _mutex:
            for self.fd in opens:
                break
            fd = self.fd
            registered[fd] = self
            self.status = status = os.fstat(fd)
            if flags not in _told_flags:
                _told_flags[flags] = _flags_of(fd)
            self._marks = _told_flags[flags]
        return status

    def open_by(self, make: Callable[..., int], *arguments: object) -> None:
        """Have the descriptor that a function of C code returns, such as `os.dup`."""
        columns = [(argument,) for argument in arguments]
        with _mutex:
            (self.fd,) = map(make, *columns)
            if self.fd >= 0:
                registered[self.fd] = self
                self.status = os.fstat(self.fd)
                self._marks = _marked(self.fd)

    def move_up(self, least: int = _HIGH) -> None:
        """Give it a high number, if one is to be had.

        The kernel closes what a dying process has open from the highest number down, and takes some 10
        ms for an inotify (tests/test_split_brain.py). Who waits for the lock need not wait for that.
        And a number that other code has closed is not soon used again: poll(2) looks a number up anew
        when it is woken, and would sleep on by the new file.
        """
        with _mutex:
            if registered.get(self.fd) is not self:
                return
            try:
                (high,) = map(fcntl.fcntl, (self.fd,), (fcntl.F_DUPFD_CLOEXEC,), (least,))
            except OSError:  # EINVAL: the limit (RLIMIT_NOFILE) is lower; EMFILE
                return
            low = self.fd
            registered[high] = self
            self.fd = high
            del registered[low]
            os.close(low)

    def is_open(self, *, on_network: bool = False) -> bool:
        """Whether the number still leads to the file: no other code has closed or reused it.

        On a network file system fstat(2) may wait for a server that has gone, so the descriptor's flags
        have to do.
        """
        try:
            return (on_network or leads_to(self.fd, self.status)) and self.is_ours()
        except OSError:  # EBADF: closed between the two looks
            return False

    def is_ours(self) -> bool:
        """`is_open`, for who knows already that the number leads to the file.

        Raises:
            OSError: EBADF, the number leads nowhere.
        """
        # The flags as `_flags_of` tells them, without a call: every release comes here.
        return registered.get(self.fd) is self and (
            self._marks < 0 or fcntl.fcntl(self.fd, _GET_FLAGS) & _MARKS == self._marks
        )

    def close(self) -> None:
        """Close it, if that has not been done; broken off by an exception, it can be called again."""
        with _mutex:
            if registered.get(self.fd) is self:  # it was not closed, here or at a fork, or taken over
                fd = self.fd
                del registered[fd]
                self.fd = -1
                try:  # not contextlib.suppress, which takes longer than all the rest
                    os.close(fd)
                except OSError:  # EBADF: a wait was called off that way (`Wait`)
                    pass
            else:
                self.fd = -1

    def has_rare_flags(self) -> bool:
        """Whether its flags alone tell it from most files of other code."""
        return self._marks > 0 and bool(self._marks & getattr(os, "O_NOFOLLOW", 0))

    def close_if_open(self, *, on_network: bool = False) -> None:
        """`close`, unless other code has closed it: the number may be somebody else's by now."""
        if self.status is _NOT_KNOWN or self.is_open(on_network=on_network):  # or just opened
            self.close()
        else:
            self.forget()

    def forget(self) -> None:
        """Leave it unclosed: the number is somebody else's by now."""
        with _mutex:
            if registered.get(self.fd) is self:
                del registered[self.fd]
            self.fd = -1


def replace(fd: int, owner: Descriptor | None, other_fd: int) -> bool:
    """Point a number at another file by dup2(2), unless the number has passed to a new owner.

    Args:
        fd, owner: the number, and the descriptor that stood in the table under it; None if none did.
        other_fd: leads to the other file.

    Returns:
        Whether a call that begins again with this number finds no file of anybody else's.
    """
    with _mutex:
        if registered.get(fd) is not owner:
            return False
        # A network's server may have gone. Hardly anybody else opens a file with our flags.
        if owner is not None and not owner.is_open(on_network=owner.has_rare_flags()):
            return _is_closed(fd) or are_same(fd, other_fd)  # else: a file that other code has opened
        try:
            os.dup2(other_fd, fd, inheritable=False)
        except OSError:  # EBADF: the limit has been lowered below the number, which nobody can get then
            os.close(fd)
        return True


def _flags_of(fd: int) -> int:
    return fcntl.fcntl(fd, _GET_FLAGS) & _MARKS if _HAS_FLAGS else -1


def openings(path: str, flags: int, mode: int = 0o777) -> Iterator[int]:
    """What opens a file anew at each step, for `Descriptor.open_next`; any thread may use it."""
    return map(os.open, repeat(path), repeat(flags), repeat(mode))


def _marked(fd: int) -> int:
    """Give a descriptor a flag by which it is known; its flags then."""
    if _HAS_FLAGS:
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
    return _flags_of(fd)


def _is_closed(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:  # EBADF
        return True
    return False


def are_same(fd: int, other_fd: int) -> bool:
    """Whether two numbers lead to one file, opened with the same flags; False if one is closed."""
    if fd < 0 or other_fd < 0:
        return False
    try:
        return _flags_of(fd) == _flags_of(other_fd) and leads_to(fd, os.fstat(other_fd))
    except OSError:  # EBADF
        return False


def adopt() -> None:
    """In a forked child: close what the parent had registered. Nothing is unlocked by that."""
    global owner_pid, _mutex  # noqa: PLW0603  (they belong to the process, which is a new one)
    if os.getpid() == owner_pid:
        return
    owner_pid = os.getpid()
    _mutex = RLock()
    for fd, descriptor in list(registered.items()):
        if descriptor.inherited:
            continue
        if descriptor.status is _NOT_KNOWN or descriptor.is_open():
            os.close(fd)  # and was not closed or reused by a daemoniser before us
        del registered[fd]


def leads_to(fd: int, status: os.stat_result) -> bool:
    """Whether a descriptor is open and leads to the file with this fstat(2)."""
    try:
        now = os.fstat(fd)
    except OSError as error:
        # ESTALE: it is open, and another client of the network file system has deleted the file.
        return error.errno == errno.ESTALE
    return now.st_ino == status.st_ino and now.st_dev == status.st_dev


def _before_fork() -> None:
    _mutex.acquire()


def _after_fork() -> None:
    _mutex.release()


def _go_on_in_child() -> None:
    global _mutex  # noqa: PLW0603
    # Not released: uWSGI's py-call-osafterfork comes here without `_before_fork`.
    _mutex = RLock()
    adopt()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork,
        after_in_child=_go_on_in_child,
    )
