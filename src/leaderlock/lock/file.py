"""The lock's file: opened safely, never truncated, never removed, and recognized when opened again.

`LockFile` has a path; the file in memory_file.py needs no writable file system. `Hold` locks both.
"""

from __future__ import annotations

import errno
import os
import stat

from leaderlock.errors import NetworkFilesystem, UnsafeLockFile
from leaderlock.kernel.arguments import choice, path_text, permission_bits
from leaderlock.kernel.descriptors import Descriptor, openings
from leaderlock.kernel.found_files import flaw_of
from leaderlock.kernel.proc.mounts import local_devices, mount_of
from leaderlock.lock.record import greatest_term, host_and_name
from leaderlock.lock.remedies import not_regular, require_possible, require_regular, unusable
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    OnNetworkFilesystem = Literal["refuse", "warn", "allow"]
    Settings = tuple[str | None, str | None, int, OnNetworkFilesystem]

# O_NONBLOCK: without it, a lease on the file (fcntl(2), F_SETLEASE) would block the open. O_NOCTTY and
# the lstat before the open make sure that a device or FIFO, named by mistake, is not touched at all.
_FLAGS = 0
for _flag in ("O_RDWR", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"):
    _FLAGS |= getattr(os, _flag, 0)
_NOATIME: int = getattr(os, "O_NOATIME", 0)
"""With O_NOATIME, a read does not write the inode; only the file's owner may use the flag."""


def write_record(fd: int, content: bytes, path: str) -> None:
    """Write a record that this process has written before.

    Raises:
        LockFileUnusable: the system refuses.
    """
    try:
        written = os.pwrite(fd, content, 0)
        if written != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise unusable(error, "write the record", path) from error


class LockedFile:
    """What this process knows about a lock's file.

    Attributes:
        has_path: whether the file can be deleted or replaced.
        is_named: whether the lock was given by a name, rather than by a path.
        is_network: whether a file server may drop the lock without a notice.
        last_written: the record that this process wrote last, and its term.
        last_read: the record that this process read last, when it began to wait.
        last_seen: the greatest term that this process read before `last_read`.
        lease: the lease in seconds of this process's candidate; for the history.
        journalled: the last term whose end this process has written into the history.
        has_opened: whether this process has opened the file, so that its path names no device.
    """

    has_path = True
    is_named = True

    def __init__(self) -> None:
        # Set these in every instance: a rehearsal warms caches only for instances of one layout.
        self.is_network = False
        self.last_written: tuple[bytes, int] = (b"", 0)
        self.last_read = b""
        self.last_seen = 0
        self.lease: float | None = None
        self.journalled = 0
        self.has_opened = False

    def remember(self, content: bytes) -> None:
        """Keep a record, so that the terms go on if the file is cut short; it is decoded only then."""
        if self.last_read:
            self.last_seen = max(self.last_seen, greatest_term(self.last_read))
        self.last_read = content


class LockFile(LockedFile):
    """A lock file given by its path; named_file.py has the file given by a name."""

    is_named = False

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        name: str | None,
        mode: int,
        on_network_filesystem: OnNetworkFilesystem,
    ) -> None:
        super().__init__()
        choice("on_network_filesystem", on_network_filesystem, ("refuse", "warn", "allow"))
        self._mode = permission_bits(mode)
        self._on_network_filesystem = on_network_filesystem
        self._given = "" if path is None else _absolute(path)
        self._flags = _FLAGS | _NOATIME
        self._opens = openings(self._given, self._flags)  # made once, used in each acquisition
        self.name = _stem(self.path) if name is None else name
        self.label = host_and_name(self.name)

    def settings(self) -> Settings:
        """The arguments with which another process makes the same lock file."""
        return self._given, None, self._mode, self._on_network_filesystem

    @property
    def path(self) -> str:
        """The path of the file."""
        return self._given

    @property
    def shown(self) -> str:
        """The path, for a repr."""
        return f"path={self.path!r}"

    def open(self, descriptor: Descriptor, reach: str = "") -> None:
        """Open the file, and make it if it is missing: each call makes a new open file description.

        Args:
            descriptor: the descriptor to open; its owner closes it, whatever is raised here.
            reach: a path by which to open the file, if not the file's own path.

        Raises:
            UnsafeLockFile: the path is a symlink, not a regular file, or neither ours nor root's.
            NetworkFilesystem: the file is on a network file system, and the settings refuse that.
            LockFileUnusable: the system refused.
        """
        path = self._given or self.path
        reach = reach or path
        status = descriptor.status
        try:
            while True:
                try:
                    # lstat before the first open, since opening a device may act on the device. Open
                    # without O_CREAT, which fs.protected_regular refuses in /tmp on others' files.
                    if not self.has_opened:
                        status = os.lstat(reach)
                        if status[_MODE] & _FORMAT != _REGULAR or status[_USER] != os.geteuid():
                            _require_safe(status, path)
                    if reach is self._given:
                        status = descriptor.open_next(self._opens, self._flags)
                    else:
                        status = descriptor.open(reach, self._flags)
                    break
                except FileNotFoundError:
                    status = self._create(reach, descriptor)
                    if descriptor.fd >= 0:
                        break
                except PermissionError as error:
                    if error.errno != errno.EPERM or self._flags == _FLAGS:
                        raise
                    self._flags = _FLAGS  # the file is root's
                    self._opens = openings(self._given, _FLAGS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise not_regular(stat.S_IFLNK, path) from error
            raise unusable(error, "open the lock file", path) from error
        # For speed: see "How it is built". The common case, here and before the open, needs no call.
        if status[_MODE] & _FORMAT != _REGULAR or (status[_USER] and status[_USER] != os.geteuid()):
            _require_safe(status, path)
        self.has_opened = True
        if status[_DEVICE] not in _local_devices:
            self._require_local(descriptor)

    def _create(self, path: str, descriptor: Descriptor) -> os.stat_result:
        """Make the file and open it; nothing is open afterwards if another process made it first."""
        try:
            status = descriptor.open(path, _FLAGS | _NEW, self._mode)
        except FileExistsError:
            return descriptor.status
        if stat.S_IMODE(status.st_mode) != self._mode:  # the umask removed some bits
            os.fchmod(descriptor.fd, self._mode)
        return status

    def is_current(self, status: os.stat_result) -> bool:
        """Whether the path still names the file with this fstat(2).

        Raises:
            LockFileUnusable: the system refuses lstat(2).
        """
        path = self._given or self.path
        try:
            now = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:  # EACCES: this process has dropped its rights since
            raise unusable(error, "look at the lock file", path) from error
        return now[_INODE] == status[_INODE] and now[_DEVICE] == status[_DEVICE]

    def open_for_reading(self) -> int | None:
        """Open the file of any owner to read its record; None if it is missing. Not registered."""
        path = self.path
        try:
            require_regular(os.lstat(path).st_mode, path)
            return os.open(path, _FLAGS & ~os.O_RDWR | os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unusable(error, "read the lock file", path) from error

    def _require_local(self, descriptor: Descriptor) -> None:
        mount = mount_of(descriptor.fd)
        if mount is None or not mount.is_network:
            _local_devices.add(descriptor.status.st_dev)
            return
        self.is_network = True
        if self._on_network_filesystem == "allow":
            return
        text = (
            f"{self.path} is on a network file system ({mount.kind}, {mount.source} on "
            f"{mount.mount_point}). There, flock may not exclude other machines, and may stay locked "
            f"after its holder has died. Choose a local path such as /run, or pass "
            f"on_network_filesystem='allow'"
        )
        if self._on_network_filesystem == "refuse":
            raise NetworkFilesystem(text)
        log().warning(text)
        self._on_network_filesystem = "allow"  # warn only once


_NEW = os.O_CREAT | os.O_EXCL
# For speed: see "How it is built". The name of a field, and its descriptor, cost a standby two pages.
_MODE: Final = stat.ST_MODE
_INODE: Final = stat.ST_INO
_DEVICE: Final = stat.ST_DEV
_USER: Final = stat.ST_UID
_FORMAT = stat.S_IFMT(0o177777)
_REGULAR = stat.S_IFREG
# Called at import, before a server forks: in each worker the call would copy 100 KiB of pages.
_local_devices = local_devices()


def _absolute(path: str | os.PathLike[str]) -> str:
    text = path_text(path)
    if text.endswith("/"):
        raise UnsafeLockFile(f"{text} is a directory: give the path of a file in it")
    path = os.path.abspath(text)
    require_possible(path)
    return path


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _require_safe(status: os.stat_result, path: str) -> None:
    flaw = flaw_of(status)
    if flaw and flaw != "owner":
        raise not_regular(status.st_mode, path)
    if flaw:
        raise UnsafeLockFile(
            f"{path} belongs to user {status.st_uid}, and that user could keep the lock from user "
            f"{os.geteuid()}: choose a path of your own, or change the owner of the file"
        )
