"""Descriptors that a forked child must not keep.

A flock belongs to the open file description, and fork(2) gives the child a second descriptor of the
same description: the lock lasts as long as the child, even if the parent is killed. Linux has no
close-on-fork flag, so a table lists every descriptor of ours, and a forked child closes those. A fork
waits for the mutex, so no child sees a descriptor that is open but not in the table, or the reverse.

Forked children keep some descriptors (a FIFO, an anonymous lock's file). These are in the table as
well, so that their objects notice if other code closes them.

A C program may fork without Python's at-fork handlers (uWSGI's workers): such children call `adopt`
when they make or use a lock.
"""

from __future__ import annotations

import errno
import os
from itertools import repeat
from stat import ST_DEV, ST_INO

from leaderlock.kernel.threads import RLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HIGH = 960
"""Below 1024, a common limit of processes, and the limit of select(2)."""

FOR_WATCHES = 512
"""Descriptors of file watches are numbered from here, below those of locks: see `move_up`."""

MARKS = os.O_RDWR | os.O_WRONLY
"""The flags that open(2) sets and fcntl(2) returns: a part of a descriptor's identity."""
for _flag in ("O_NONBLOCK", "O_NOATIME", "O_NOFOLLOW", "O_APPEND", "O_PATH"):
    MARKS |= getattr(os, _flag, 0)

_HAS_FLAGS = hasattr(fcntl, "F_GETFL")
_GET_FLAGS = fcntl.F_GETFL if _HAS_FLAGS else 0
NOT_KNOWN = os.stat_result((0,) * 10)

_mutex = RLock()  # reentrant: a signal handler may fork while its thread is inside
registered: dict[int, Descriptor] = {}
_told_flags: dict[int, int] = {}  # from flags for open(2) to those that fcntl(2) returns
owner_pid = os.getpid()


class Descriptor:
    """An open file, which is closed in forked children.

    A descriptor owns its number while the table has it under that number. A newly registered descriptor
    takes its number over from an older one, since the kernel gives out no number that is in use. If
    other code has opened a file under the number, the file or the flags differ. Descriptors without a
    file (eventfd, inotify) share one inode: these get O_APPEND, a flag that does nothing there.

    The caller makes the object first, then opens it, and calls `close` in the end: nothing is lost even
    if a signal handler raises at any instant. No handler can run between the system call and the change
    of the table: the interpreter runs handlers after a call and at a jump back (CPython 3.10 to 3.13).
    Here the iterator of `map`, which is C code, makes the call, and the loop over it ends before the
    jump back. For the same reason only plain assignments stand between a look at the table and the call
    of close(2).

    Args:
        path, flags, mode: for `open`; nothing is opened without a path.
        inherited: whether forked children keep the descriptor as their own.

    Attributes:
        fd: the descriptor's number; -1 when it is closed.
        status, marks: fstat(2) of the opened file, and its flags in `MARKS` (-1: not known).
    """

    __slots__ = ("fd", "inherited", "marks", "status")

    def __init__(
        self, path: str = "", flags: int = 0, mode: int = 0o777, *, inherited: bool = False
    ) -> None:
        self.fd = -1
        self.inherited = inherited
        self.status = NOT_KNOWN
        self.marks = -1  # not known
        if path:
            try:
                self.open(path, flags, mode)
            except BaseException:
                self.close()
                raise

    def open(self, path: str, flags: int, mode: int = 0o777) -> os.stat_result:
        """Open a file and return its fstat(2). The descriptor must not be open yet."""
        return self.open_next(openings(path, flags, mode), flags)

    def open_next(self, opens: Iterator[int], flags: int) -> os.stat_result:
        """Do the same as `open`, with an iterator that `openings` has returned for these flags."""
        with _mutex:
            for self.fd in opens:
                break
            fd = self.fd
            registered[fd] = self
            self.status = status = os.fstat(fd)
            if flags not in _told_flags:
                _told_flags[flags] = _flags_of(fd)
            self.marks = _told_flags[flags]
        return status

    def open_by(self, make: Callable[..., int], *arguments: object) -> None:
        """Take the descriptor that a C function such as `os.dup` returns for the arguments."""
        columns = [(argument,) for argument in arguments]
        with _mutex:
            (self.fd,) = map(make, *columns)
            if self.fd >= 0:
                registered[self.fd] = self
                self.status = os.fstat(self.fd)
                self.marks = _marked(self.fd)

    def move_up(self, least: int = _HIGH) -> None:
        """Move the descriptor to a high number, if the limit of open files allows one.

        The kernel closes the descriptors of a dying process from the highest number down, and takes
        some 10 ms for an inotify (tests/test_split_brain.py). A lock with a high number is released
        before that. And a high number is not soon reused after other code has closed it: poll(2) looks
        the number up again when it is woken, and would go on to wait for the new file.
        """
        with _mutex:
            if registered.get(self.fd) is not self:
                return
            try:
                (high,) = map(fcntl.fcntl, (self.fd,), (fcntl.F_DUPFD_CLOEXEC,), (least,))
            except OSError:  # EINVAL: RLIMIT_NOFILE is lower; EMFILE
                return
            registered[high] = self
            low, self.fd = self.fd, high
            del registered[low]
            try:  # written out: a handler could raise where a function of ours begins
                os.close(low)
            except OSError:  # EBADF: other code closes it in the same moment (os.closerange)
                pass

    def is_open(self, *, on_network: bool = False) -> bool:
        """Whether the number still leads to the file: no other code has closed or reused the number.

        On a network file system fstat(2) may wait for a server that does not answer, so only the
        descriptor's flags are compared there.
        """
        try:
            return (on_network or leads_to(self.fd, self.status)) and self.is_ours()
        except OSError:  # EBADF: closed between the two looks
            return False

    def is_ours(self) -> bool:
        """Do the same as `is_open`, for a caller who knows that the number leads to the file.

        Raises:
            OSError: EBADF, the number is not open.
        """
        # For speed: see "How it is built". Every release runs this line, the same as `_flags_of`.
        return registered.get(self.fd) is self and (
            self.marks < 0 or fcntl.fcntl(self.fd, _GET_FLAGS) & MARKS == self.marks
        )

    def close(self) -> None:
        """Close the descriptor, if it is open. If an exception interrupts this, call it again."""
        with _mutex:
            if registered.get(self.fd) is self:  # not closed here or at a fork, and not taken over
                fd = self.fd
                del registered[fd]
                self.fd = -1
                try:  # not contextlib.suppress, which takes longer than all other lines here
                    os.close(fd)
                except OSError:  # EBADF: `replace` closed the number when it cancelled a wait (`Wait`)
                    pass
            else:
                self.fd = -1

    def has_rare_flags(self) -> bool:
        """Whether the descriptor's flags alone distinguish it from most files of other code."""
        return self.marks > 0 and bool(self.marks & getattr(os, "O_NOFOLLOW", 0))

    def close_if_open(self, *, on_network: bool = False) -> None:
        """Close the descriptor, unless other code has closed it: the number may have a new owner."""
        if self.status is NOT_KNOWN or self.is_open(on_network=on_network):  # or just opened
            self.close()
        else:
            self.forget()

    def forget(self) -> None:
        """Drop the number from the table and do not close it: it belongs to other code by now."""
        with _mutex:
            if registered.get(self.fd) is self:
                del registered[self.fd]
            self.fd = -1


def replace(fd: int, owner: Descriptor | None, other_fd: int) -> bool:
    """Point a descriptor number at another file by dup2(2), unless the number has a new owner.

    Args:
        fd, owner: the number, and the descriptor that the table had under the number; None for none.
        other_fd: a descriptor of the other file.

    Returns:
        Whether a system call may start again with this number: no other code has opened a file there.
    """
    with _mutex:
        if registered.get(fd) is not owner:
            return False
        # Compare the flags only, if they are rare: fstat(2) may wait for a network server that is gone.
        if owner is not None and not owner.is_open(on_network=owner.has_rare_flags()):
            return _is_closed(fd) or are_same(fd, other_fd)  # False: other code has opened a file there
        try:
            os.dup2(other_fd, fd, inheritable=False)
        except OSError:  # EBADF: the limit is below the number now, so nobody can get the number again
            try:
                os.close(fd)
            except OSError:  # EBADF
                pass
        return True


def _flags_of(fd: int) -> int:
    return fcntl.fcntl(fd, _GET_FLAGS) & MARKS if _HAS_FLAGS else -1


def openings(path: str, flags: int, mode: int = 0o777) -> Iterator[int]:
    """An iterator for `Descriptor.open_next`: each step opens the file. Any thread may use it."""
    return map(os.open, repeat(path), repeat(flags), repeat(mode))


def _marked(fd: int) -> int:
    """Set O_APPEND on a descriptor, to recognise it later; return its flags."""
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
    """Whether two descriptors lead to the same file, with the same flags; False if one is closed."""
    if fd < 0 or other_fd < 0:
        return False
    try:
        return _flags_of(fd) == _flags_of(other_fd) and leads_to(fd, os.fstat(other_fd))
    except OSError:  # EBADF
        return False


def adopt() -> None:
    """In a forked child: close the descriptors that the parent had registered. This unlocks nothing."""
    global owner_pid, _mutex  # noqa: PLW0603  (both belong to the process, and this process is new)
    if os.getpid() == owner_pid:
        return
    owner_pid = os.getpid()
    _mutex = RLock()
    for fd, descriptor in list(registered.items()):
        if descriptor.inherited:
            continue
        if descriptor.status is NOT_KNOWN or descriptor.is_open():
            try:  # a daemoniser has not closed or reused the number before us
                os.close(fd)
            except OSError:  # EBADF
                pass
        del registered[fd]


def leads_to(fd: int, status: os.stat_result) -> bool:
    """Whether a descriptor is open and leads to the file that has this fstat(2)."""
    try:
        now = os.fstat(fd)
    except OSError as error:
        # ESTALE: the descriptor is open; another client of the network file system deleted the file.
        return error.errno == errno.ESTALE
    return now[ST_INO] == status[ST_INO] and now[ST_DEV] == status[ST_DEV]


def _go_on_in_child() -> None:
    global _mutex  # noqa: PLW0603
    # A new mutex, not a release: uWSGI's py-call-osafterfork calls this without the acquisition.
    _mutex = RLock()
    adopt()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _mutex.acquire(),  # noqa: PLW0108  (a child makes the mutex anew)
        after_in_parent=lambda: _mutex.release(),  # noqa: PLW0108
        after_in_child=_go_on_in_child,
    )
