"""One acquisition: a descriptor of its own, locked, with the next term written into the file."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from leaderlock import record
from leaderlock.errors import CorruptLockFile, NotHeld, Unsupported
from leaderlock.kernel.flock import Wait, try_flock
from leaderlock.lockfile import unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.descriptors import Descriptor
    from leaderlock.lockfile import LockFile, MemoryFile


class Hold:
    """One acquisition of a file's lock, from its beginning to its end, and of one acquirer.

    Whoever made it calls `close` in the end, whatever has happened in between: a signal handler may
    raise (KeyboardInterrupt) at any instant, also while a result is on its way to the caller. So it has
    the descriptor from before this is locked.

    Attributes:
        term: the fencing token; 0 until the lock is held.
        since: when it was acquired, in seconds since the epoch.
    """

    __slots__ = ("_content", "_descriptor", "_file", "since", "term")

    def __init__(self, file: LockFile | MemoryFile) -> None:
        self._file = file
        self._descriptor: Descriptor | None = None
        self._content = b""
        self.term = 0
        self.since = 0.0

    def take(self, timeout: float | None, wait: Wait | None) -> bool:
        """Queue for the lock; False after `timeout` seconds (0: at once) or if `wait` is called off.

        If the file has been replaced meanwhile, the wait starts over on the new one.
        """
        file = self._file
        deadline = None if not timeout else time.monotonic() + timeout
        while True:
            descriptor = self._descriptor = file.open()
            if not _lock(file, descriptor, timeout, wait):
                descriptor.close()
                return False
            if file.is_current(descriptor.status):
                self._begin(descriptor.fd)
                return True
            descriptor.close()
            if deadline is not None:
                timeout = max(deadline - time.monotonic(), 0)

    def _begin(self, fd: int, *, rehearsal: bool = False) -> None:
        """Write the next term into the file, which is locked; a rehearsal writes nothing."""
        file = self._file
        content, term = file.last_written
        before = os.pread(fd, record.SIZE, 0)
        if before != content:  # somebody else led meanwhile
            term = max(term, record.last_term(before, file.path))
        term += 1
        self.since = time.time()
        self._content = content = record.encode(term, self.since, file.label)
        _write(fd, b"" if rehearsal else content, file.path)
        if not rehearsal:
            file.last_written = (content, term)
        self.term = term

    @property
    def fd(self) -> int:
        """The locked descriptor."""
        return self._require_descriptor().fd

    def is_current(self) -> bool:
        """Whether the path still names the file that is locked.

        Raises:
            NotHeld: other code has closed the descriptor.
        """
        return self._file.is_current(self._require_descriptor().status)

    def release(self) -> None:
        """Give the lock up.

        LOCK_UN before close(2), which alone would leave the lock with any process that has inherited
        the descriptor.

        Raises:
            NotHeld: other code has closed the descriptor, and the lock went with it.
        """
        descriptor = self._descriptor
        intact = descriptor is not None and self._reads_as_written(descriptor.fd)
        if descriptor is None or not intact:
            descriptor = self._require_descriptor()
        try:
            # Others may write to the file at any time (a `>` in a shell): the next term must not begin
            # from that.
            if not intact:
                _write(descriptor.fd, self._content, self._file.path)
        finally:
            fcntl.flock(descriptor.fd, fcntl.LOCK_UN)
            descriptor.close()

    def _reads_as_written(self, fd: int) -> bool:
        """Whether it leads to the record of this very term, and so to the file that is locked."""
        try:
            return os.pread(fd, record.SIZE, 0) == self._content
        except OSError:  # EBADF; ESPIPE, EISDIR: the number was reused
            return False

    def close(self) -> None:
        """Let go of what there is of it yet, or still; nothing, if it was released."""
        if self._descriptor is not None:
            self._descriptor.close()

    def _require_descriptor(self) -> Descriptor:
        """The descriptor, unless other code has closed it: the number may lead anywhere now."""
        descriptor = self._descriptor
        if descriptor is None or not descriptor.is_open():
            if descriptor is not None:
                descriptor.forget()
            raise NotHeld(
                f"{self._file.path} is no longer held: other code in process {os.getpid()} has closed "
                f"its descriptor (os.closerange, a daemoniser), and the lock went with it; acquire it "
                f"after that"
            )
        return descriptor


def _lock(
    file: LockFile | MemoryFile, descriptor: Descriptor, timeout: float | None, wait: Wait | None
) -> bool:
    fd = descriptor.fd
    try:
        if wait is not None and wait.cancelled:
            return False
        if try_flock(fd):
            return True
        if timeout == 0:
            return False
        if wait is None and timeout is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return True
        if wait is not None:
            _rehearse(file, descriptor)
        return (wait or Wait()).flock(fd, timeout)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            raise Unsupported(
                f"{file.path}: its file system has no flock ({error.strerror}); choose another path"
            ) from error
        raise unusable(error, "lock the file", file.path) from error


def _rehearse(file: LockFile | MemoryFile, descriptor: Descriptor) -> None:
    """Walk through the steps after the lock once, so that they are not cold when it comes.

    After a fork their pages are shared with the parent and copied at the first touch: that, and first
    calls, cost a third of a millisecond, which is then no longer between two leaders.
    """
    file.is_current(descriptor.status)
    try:
        Hold(file)._begin(descriptor.fd, rehearsal=True)
    except CorruptLockFile:
        return  # it is raised when the lock is ours, unless the holder has mended it by then


def _write(fd: int, content: bytes, path: str) -> None:
    try:
        written = os.pwrite(fd, content, 0)
        if written != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise unusable(error, "write the record", path) from error
