"""Opens a lock file to examine it, as far as this user may, without disturbing any process."""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError, LockFileUnusable, UnsafeLockFile, Unsupported
from leaderlock.history import reading as history
from leaderlock.kernel.proc.mounts import mount_of, place_of
from leaderlock.lock import record
from leaderlock.lock.remedies import require_possible, require_regular, unusable
from leaderlock.status.facts import process_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.kernel.proc.mounts import Mount
    from leaderlock.status.gathering.view import View


class MissingLockFile(LeaderLockError):
    """No file exists at the path."""


class Opened:
    """An open file: repeated looks see the same file, even if its path is deleted or replaced.

    Attributes:
        path: the path to show.
        reached_by: the path that leads to the file.
        place: device and inode number, as in ``/proc/locks``.
        mount: the file's mount; None if the kernel does not report it.
        unreadable: the reason why the record could not be read, or None.
        kept: whether the file stays open after a look; the code that sets this must close the file.
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
        """The result of stat(2)."""
        return os.fstat(self._fd)

    @property
    def proc_path(self) -> str:
        """A path that leads to this very file, even if its own path is deleted or replaced."""
        return f"/proc/self/fd/{self._fd}"

    def content(self) -> bytes | None:
        """The bytes of the record; None if they cannot be read."""
        try:
            if self._content_fd < 0:
                # Kept open: a second open would wake every process that watches the file.
                self._content_fd = os.open(self.proc_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            return os.pread(self._content_fd, record.SIZE, 0)
        except OSError as error:
            # EACCES: another user's file; EWOULDBLOCK: a lease on the file (fcntl(2)); EIO, and ESTALE
            # from a network file system
            self.unreadable = os.strerror(error.errno or 0)
            return None

    def term(self) -> Any:
        """The history's entry for the newest term; None if there is none."""
        if self._content_fd < 0:
            return None
        return history.current(self._content_fd)

    def close(self) -> None:
        """Close the file."""
        for fd in (self._fd, self._content_fd):
            if fd >= 0:
                os.close(fd)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_lock(path: str | os.PathLike[str], mounts: dict[bytes, Mount] | None = None) -> Opened:
    """Open the file at a path, also at a ``/proc/PID/fd/N``.

    Args:
        mounts: all mounts by their IDs, to open many files without reading them again.

    Raises:
        MissingLockFile: no file exists at the path.
        UnsafeLockFile: the path leads to no regular file.
        LockFileUnusable: we may not even look up the path.
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
        # O_PATH does not act on a device, and needs no permission on the file itself.
        fd = os.open(text, os.O_PATH | os.O_CLOEXEC | (0 if process_in(text) else os.O_NOFOLLOW))
    except FileNotFoundError:
        raise MissingLockFile(f"{text} does not exist: nobody has used this lock yet") from None
    except OSError as error:
        raise unusable(error, "look at the lock file", text) from error
    try:
        require_regular(os.fstat(fd).st_mode, text)
    except UnsafeLockFile:
        os.close(fd)
        raise
    opened = Opened(text, fd, mounts)
    if process_in(text):
        opened.path = _shown(os.readlink(f"/proc/self/fd/{fd}"))
    return opened


def open_at(path: str | os.PathLike[str], view: View) -> Opened:
    """Open the file at a path or, if it was deleted, the deleted file whose lock is still held.

    Raises:
        LeaderLockError: for the same reasons as in `open_lock`.
    """
    try:
        return open_lock(path, view.mounts)
    except MissingLockFile:
        # A process may still hold the lock of a file that was deleted.
        rivals = view.deleted_files_at(os.path.abspath(os.fsdecode(path)), None)
        if not rivals:
            raise
        try:
            return open_lock(rivals[0].descriptor, view.mounts)
        except LockFileUnusable:
            raise MissingLockFile(
                f"{os.fsdecode(path)} was deleted, but process {rivals[0].pid} still holds its lock; "
                f"only root or that process's user may see more"
            ) from None


def _shown(link: str) -> str:
    if link.startswith("/memfd:"):
        return link.removeprefix("/").removesuffix(" (deleted)")
    return link


def _place_by_its_process(path: str, fd: int) -> tuple[tuple[int, int], int]:
    """The device and inode of a file in another mount namespace, from its process's mountinfo.

    stat(2) reports another device on btrfs and some overlays.
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
        except OSError:  # the process has ended (EINVAL for a zombie), or is another user's
            pass
    return device, inode
