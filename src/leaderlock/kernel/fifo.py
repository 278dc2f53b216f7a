"""A FIFO whose ends never disappear: opened safely, for reading and writing, in each process."""

from __future__ import annotations

import errno
import os
import stat
import sys

from leaderlock.errors import LockFileUnusable, UnsafeLockFile, Unsupported
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.threads import RLock
from leaderlock.log import log

try:
    import fcntl
    import termios
except ImportError:  # Windows and WASM, where `Fifo` refuses
    fcntl = None  # type: ignore[assignment]

DEFAULT_CAPACITY = 1 << 20
"""Bytes: what /proc/sys/fs/pipe-max-size lets everybody have."""

_FLAGS = 0
for _flag in ("O_RDWR", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"):
    _FLAGS |= getattr(os, _flag, 0)

_LARGEST_CAPACITY = 1 << 30

_REMEDIES = {
    errno.ENOENT: "make its directory first",
    errno.ENOTDIR: "a part of its path is not a directory",
    errno.EACCES: "give this user read and write permission, or choose another path",
    errno.EROFS: "the file system is mounted read-only: choose a path on a writable one",
    errno.EPERM: "this file system holds no FIFOs: choose a path on another one, such as /run",
    errno.EMFILE: "this process has too many files open: raise `ulimit -n` or close some",
}


class Fifo:
    """A FIFO, made if it is missing and held open for reading and writing.

    Who holds it open so never sees end-of-file, ENXIO or SIGPIPE (fifo(7)), and what is in the pipe
    stays there as long as any process does. A forked child goes on with the descriptor that it has
    inherited, also after it has given up the right to open the path. If other code has closed it, a
    daemoniser, say, the path is opened anew, with a warning unless the process is a new one.

    Args:
        path: where it lies; the directory must exist.
        mode: the permission bits of a new one, whatever the umask; those of an old one stay.
        capacity: bytes that the pipe is to hold (see `Inbox`).

    Raises:
        UnsafeLockFile: the path is a symlink, no FIFO, or neither ours nor root's.
        LockFileUnusable: the system refused; also an `OSError`.
        Unsupported: this is not Linux.
        ValueError: an argument is not of its form.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int, capacity: int) -> None:
        if not 0 <= mode <= 0o777:
            raise ValueError(f"mode must be permission bits such as 0o600, not {mode!r}")
        if not 0 < capacity <= _LARGEST_CAPACITY:
            raise ValueError(f"capacity must be 1 to {_LARGEST_CAPACITY} bytes, not {capacity!r}")
        if not hasattr(fcntl, "F_SETPIPE_SZ"):
            raise Unsupported(
                "FIFOs that outlive their reader need tee(2) and F_SETPIPE_SZ: Linux only"
            )
        text = os.fsdecode(path)
        if not text or "\0" in text:
            raise ValueError(f"path must name a FIFO, not {text!r}")
        self.path = os.path.abspath(text)
        self._mode = mode
        self._wanted = capacity
        self._pid = os.getpid()
        self._is_closed = False
        # By process: a child that was forked while another thread had it would wait for ever.
        self._mutexes = {self._pid: RLock()}
        self._descriptor = Descriptor(inherited=True)
        self._open(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, open in this process.

        Raises:
            ValueError: it was closed.
        """
        descriptor = self._descriptor
        if not descriptor.is_open():
            descriptor = self._open_anew(descriptor)
        self._pid = os.getpid()
        return descriptor.fd

    def _open_anew(self, lost: Descriptor) -> Descriptor:
        with self._mutexes.setdefault(os.getpid(), RLock()):
            if self._is_closed:
                raise ValueError(f"{self.path} was closed")
            if self._descriptor is not lost:  # another thread was faster
                return self._descriptor
            if self._pid == os.getpid():
                log().warning(
                    "%s: other code in process %d has closed its descriptor (os.closerange, a "
                    "daemoniser); it is opened anew, and what waited in it is lost if no other process "
                    "has it open",
                    self.path,
                    self._pid,
                )
            lost.forget()
            descriptor = Descriptor(inherited=True)
            self._open(descriptor)
            self._descriptor = descriptor
            return descriptor

    @property
    def capacity(self) -> int:
        """Bytes that the pipe holds; small messages fill each page (4096) to its last that fits."""
        return fcntl.fcntl(self.fileno(), fcntl.F_GETPIPE_SZ)

    @property
    def pending(self) -> int:
        """Bytes that wait in the pipe."""
        answer = fcntl.ioctl(self.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def close(self) -> None:
        """Close this process's descriptor, if that has not been done."""
        self._is_closed = True
        self._descriptor.close_if_open()

    def _open(self, descriptor: Descriptor) -> None:
        try:
            status = self._open_or_make(descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _symlink(self.path) from error
            remedy = _REMEDIES.get(error.errno or 0, "")
            raise LockFileUnusable(error, "open the FIFO", self.path, remedy) from error
        try:
            _require_safe(status, self.path)
            _grow(descriptor.fd, self._wanted)
        except BaseException:
            descriptor.close()
            raise

    def _open_or_make(self, descriptor: Descriptor) -> os.stat_result:
        while True:
            try:
                # Before it is opened, since opening a device may act on it.
                _require_safe(os.lstat(self.path), self.path)
                return descriptor.open(self.path, _FLAGS)
            except FileNotFoundError:
                pass
            try:
                os.mkfifo(self.path, self._mode)
            except FileExistsError:
                continue  # another process was faster: open what it made
            status = descriptor.open(self.path, _FLAGS)
            try:
                _require_safe(status, self.path)  # where others may write, it may be another one
                os.fchmod(descriptor.fd, self._mode)  # the umask took some of it
            except BaseException:
                descriptor.close()
                raise
            return status

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _require_safe(status: os.stat_result, path: str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _symlink(path)
    if not stat.S_ISFIFO(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "no FIFO")
        raise UnsafeLockFile(f"{path} is {kind}: give the path of a FIFO or of a new one")
    if status.st_uid not in (os.geteuid(), 0):
        raise UnsafeLockFile(
            f"{path} belongs to user {status.st_uid}, who could read what is sent: choose a path of "
            f"your own, or change its owner"
        )


def _symlink(path: str) -> UnsafeLockFile:
    return UnsafeLockFile(
        f"{path} is a symlink, which could lead to any file: give the path of the FIFO itself"
    )


def _grow(fd: int, wanted: int) -> None:
    """Let the pipe hold what is wanted, or as near to it as this user may go; never shrink it."""
    size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    while size < wanted:
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, wanted)
            return
        except PermissionError:  # over /proc/sys/fs/pipe-max-size, or the user's share (pipe(7))
            wanted //= 2
