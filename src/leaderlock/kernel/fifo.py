"""A FIFO whose ends never disappear: opened safely, for reading and writing, in each process."""

from __future__ import annotations

import errno
import os
import stat
import sys

from leaderlock.errors import LockFileUnusable, UnsafeLockFile, Unsupported
from leaderlock.kernel.arguments import path_text, permission_bits
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.found_files import flaw_of, kind_of
from leaderlock.kernel.limits import REMEDIES
from leaderlock.kernel.threads import RLock
from leaderlock.log import log

try:
    import fcntl
    import termios
except ImportError:  # Windows and WASM, where `Fifo` refuses
    fcntl = None  # type: ignore[assignment]

DEFAULT_CAPACITY = 1 << 20
"""Bytes: the default of /proc/sys/fs/pipe-max-size, the limit for users without privileges."""

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
    errno.EMFILE: REMEDIES[errno.EMFILE],
}


class Fifo:
    """A FIFO, made if it is missing and held open for reading and writing.

    A process that holds the FIFO open in both ways never gets end-of-file, ENXIO or SIGPIPE (fifo(7)).
    The pipe keeps its content as long as any process holds it open. A forked child uses the descriptor
    that it has inherited, even after it has lost the right to open the path. If other code (a
    daemoniser) has closed the descriptor, the path is opened again; a warning is logged unless that
    happened at a fork.

    Args:
        path: the FIFO's path; the directory must exist.
        mode: the permission bits of a new FIFO, regardless of the umask; an old FIFO keeps its bits.
        capacity: bytes that the pipe is to hold (see `Inbox`).

    Raises:
        UnsafeLockFile: the path is a symlink, is no FIFO, or belongs to neither this user nor root.
        LockFileUnusable: the system refused; also an `OSError`.
        Unsupported: this is not Linux.
        TypeError, ValueError: an argument has a wrong type or value.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int, capacity: int) -> None:
        permission_bits(mode)
        if not isinstance(capacity, int):
            raise TypeError(f"capacity must be a number of bytes, not {capacity!r}")
        if not 0 < capacity <= _LARGEST_CAPACITY:
            raise ValueError(f"capacity must be 1 to {_LARGEST_CAPACITY} bytes, not {capacity!r}")
        if not hasattr(fcntl, "F_SETPIPE_SZ"):
            raise Unsupported(
                "FIFOs that outlive their reader need tee(2) and F_SETPIPE_SZ: Linux only"
            )
        self.path = os.path.abspath(path_text(path, "a FIFO"))
        self._mode = mode
        self._wanted = capacity
        self._pid = os.getpid()
        self._is_closed = False
        # By process: if another thread holds the mutex at a fork, the child could never acquire it.
        self._mutexes = {self._pid: RLock()}
        self._descriptor = Descriptor(inherited=True)
        self._open(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, open in this process.

        Raises:
            ValueError: the FIFO was closed.
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
        """Size of the pipe in bytes; not all are used, as no small message is split between pages."""
        return fcntl.fcntl(self.fileno(), fcntl.F_GETPIPE_SZ)

    @property
    def pending(self) -> int:
        """Bytes that wait in the pipe."""
        answer = fcntl.ioctl(self.fileno(), termios.FIONREAD, bytes(4))
        return int.from_bytes(answer, sys.byteorder)

    def close(self) -> None:
        """Close this process's descriptor, if it is open."""
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
                # Check the file before opening it, since opening a device may act on the device.
                _require_safe(os.lstat(self.path), self.path)
                return descriptor.open(self.path, _FLAGS)
            except FileNotFoundError:
                pass
            try:
                os.mkfifo(self.path, self._mode)
            except FileExistsError:
                continue  # another process was faster: open the file that it made
            status = descriptor.open(self.path, _FLAGS)
            try:
                _require_safe(status, self.path)  # others who may write here may have replaced it
                os.fchmod(descriptor.fd, self._mode)  # the umask may have removed bits
            except BaseException:
                descriptor.close()
                raise
            return status

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()


def _require_safe(status: os.stat_result, path: str) -> None:
    flaw = flaw_of(status, stat.S_IFIFO)
    if flaw == "symlink":
        raise _symlink(path)
    if flaw == "kind":
        kind = kind_of(status.st_mode, "no FIFO")
        raise UnsafeLockFile(f"{path} is {kind}: give the path of a FIFO, or a path that is free")
    if flaw == "owner":
        raise UnsafeLockFile(
            f"{path} belongs to user {status.st_uid}, who could read what is sent: choose a path of "
            f"your own, or change its owner"
        )


def _symlink(path: str) -> UnsafeLockFile:
    return UnsafeLockFile(
        f"{path} is a symlink, which could lead to any file: give the path of the FIFO itself"
    )


def _grow(fd: int, wanted: int) -> None:
    """Grow the pipe to the wanted size, or halve that until this user may have it; never shrink."""
    size = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    while size < wanted:
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, wanted)
            return
        except PermissionError:  # over /proc/sys/fs/pipe-max-size, or the user's share (pipe(7))
            wanted //= 2
