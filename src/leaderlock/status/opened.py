"""A lock file, opened to look at it: as far as this user may, and disturbing nobody."""

from __future__ import annotations

import os
import stat

from leaderlock.errors import LeaderLockError, UnsafeLockFile, Unsupported
from leaderlock.history import reading as history
from leaderlock.kernel.proc.mounts import mount_of, place_of
from leaderlock.lock import record
from leaderlock.lock.remedies import not_regular, require_possible, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.kernel.proc.mounts import Mount


class MissingLockFile(LeaderLockError):
    """No file is at the path."""


class Opened:
    """A file to look at again and again: what happens to its path does not change which file it is.

    Attributes:
        path: as it is to be shown.
        reached_by: the path that leads to it.
        place: device and inode number, as in ``/proc/locks``.
        mount: None if the kernel does not tell.
        unreadable: why the record could not be read, or None.
        kept: whether it stays open after a look: whoever says so closes it.
    """

    kept = False

    def __init__(self, path: str, fd: int, mounts: dict[bytes, Mount] | None) -> None:
        self.path = self.reached_by = path
        self._fd = fd
        self._content_fd = -1
        self.unreadable: str | None = None
        self.mount: Mount | None = mount_of(fd, mounts)
        if self.mount is None:
            self.place = _place_by_its_process(path, fd)
        else:
            self.place = self.mount.device, os.fstat(fd).st_ino

    def status(self) -> os.stat_result:
        """What stat(2) tells."""
        return os.fstat(self._fd)

    @property
    def proc_path(self) -> str:
        """A path that leads to this very file, whatever becomes of its own."""
        return f"/proc/self/fd/{self._fd}"

    def content(self) -> bytes | None:
        """The place of the record; None if it cannot be read."""
        try:
            if self._content_fd < 0:
                # Kept open, since a second open would wake everybody who watches the file.
                self._content_fd = os.open(self.proc_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return os.pread(self._content_fd, record.SIZE, 0)
        except OSError as error:
            # EACCES: it is somebody else's; EWOULDBLOCK: a lease (fcntl(2)) on it; EIO, and ESTALE of a
            # network file system
            self.unreadable = os.strerror(error.errno or 0)
            return None

    def term(self) -> Any:
        """What the history says of the newest term; None if it says nothing."""
        if self._content_fd < 0:
            return None
        return history.current(self._content_fd)

    def close(self) -> None:
        """Close it."""
        for fd in (self._fd, self._content_fd):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_lock(path: str | os.PathLike[str], mounts: dict[bytes, Mount] | None = None) -> Opened:
    """Open the file at a path, or at a ``/proc/PID/fd/N``.

    Args:
        mounts: by their IDs, for one who opens many.

    Raises:
        MissingLockFile: there is none.
        UnsafeLockFile: what is there is no regular file.
        LockFileUnusable: we may not even look.
        Unsupported: this is not Linux.
    """
    if not hasattr(os, "O_PATH"):
        raise Unsupported("who holds a lock is read from /proc/locks, which this system does not have")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise UnsafeLockFile(f"a path must name a file, not {text!r}")
    text = os.path.abspath(text)
    if process_in(text) is None:
        require_possible(text)
    try:
        # O_PATH: it touches no device and needs no right on the file itself.
        fd = os.open(text, os.O_PATH | os.O_CLOEXEC | (0 if process_in(text) else os.O_NOFOLLOW))
    except FileNotFoundError:
        raise MissingLockFile(f"{text} does not exist: nobody has used this lock yet") from None
    except OSError as error:
        raise unusable(error, "look at the lock file", text) from error
    if not stat.S_ISREG(mode := os.fstat(fd).st_mode):
        os.close(fd)
        raise not_regular(mode, text)
    opened = Opened(text, fd, mounts)
    if process_in(text):
        opened.path = _shown(os.readlink(f"/proc/self/fd/{fd}"))
    return opened


def process_in(path: str) -> int | None:
    """The process of a ``/proc/PID/fd/N`` (or of a thread's); None for any other path."""
    parts = path.split("/")
    if len(parts) >= 5 and parts[:2] == ["", "proc"] and parts[2].isdecimal() and parts[-2] == "fd":
        return int(parts[2])
    return None


def _shown(link: str) -> str:
    if link.startswith("/memfd:"):
        return link.removeprefix("/").removesuffix(" (deleted)")
    return link


def _place_by_its_process(path: str, fd: int) -> tuple[tuple[int, int], int]:
    """For a file in a mount namespace of others: the device, from its process's mountinfo.

    stat(2) tells another one on btrfs and some overlays.
    """
    device, inode = place_of(fd)
    pid = process_in(path)
    if pid is not None:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            mount_id = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
        try:
            with open(f"/proc/{pid}/mountinfo", "rb") as file:
                for line in file:
                    fields = line.split(b" ", 3)
                    if fields[0] == mount_id:
                        major, minor = fields[2].split(b":")
                        return (int(major), int(minor)), inode
        except OSError:  # it has gone (a zombie's: EINVAL), or is somebody else's
            pass
    return device, inode
