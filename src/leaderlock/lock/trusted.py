"""Opens a directory that no other user can replace or write to; makes it if it is missing.

Each part of the path is opened in the part before it (openat(2)) and checked. A rename or a symlink
between the check and the use changes nothing, since the checked descriptor itself is used.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from leaderlock.errors import LockFileUnusable, UnsafeLockFile
from leaderlock.kernel.found_files import is_ours

_PLACE = 0
for _flag in ("O_PATH", "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"):
    _PLACE |= getattr(os, _flag, 0)

_MOST_LINKS = 40
"""The number of symlinks that the kernel follows (path_resolution(7))."""

_WRITABLE_BY_OTHERS = 0o022
_REMEDY = "make the directory yourself with mode 0700, or set LEADERLOCK_DIR to another directory"


class UnsafeParent(UnsafeLockFile):
    """A directory on the way to the requested directory is not safe."""


class Directory:
    """An open directory that passed the checks; its owner closes it.

    Attributes:
        path: the path that the caller gave.
        fd: the descriptor for openat(2); it cannot list the directory.
        status: the directory's fstat(2).
    """

    __slots__ = ("fd", "path", "status")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.status = os.fstat(fd)

    def path_of(self, name: str) -> str:
        """A path that reaches an entry through the descriptor, where there is a ``/proc``."""
        reach = f"/proc/self/fd/{self.fd}"
        return f"{reach if os.path.exists(reach) else self.path}/{name}"

    def is_read_only(self) -> bool:
        """Whether the directory's file system is mounted read-only."""
        return bool(os.fstatvfs(self.fd).f_flag & os.ST_RDONLY)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_private(path: str) -> Directory:
    """Open a directory of this user that is closed to others; make it with mode 0700 if it is missing.

    Raises:
        UnsafeLockFile: another user could replace the directory, or the files in it.
        LockFileUnusable: the system refuses to make or open the directory.
    """
    directory = open_trusted(path, make=True)
    try:
        _require_private(directory.status, path)
    except BaseException:
        directory.close()
        raise
    return directory


def open_trusted(path: str, *, make: bool = False, follow: bool = False) -> Directory:
    """Open a directory; only this user and root may be able to write to the directories above it.

    Symlinks on the way are followed where only this user and root can have made them.

    Args:
        path: an absolute path.
        make: whether to make the directory if it is missing; its parent must exist.
        follow: whether the path may itself be a symlink, as for a unit with ``DynamicUser=``.

    Raises:
        UnsafeParent: a directory on the way is another user's, or others can write to it.
        UnsafeLockFile: the path is no directory.
        LockFileUnusable: the directory does not exist, or the system refuses to open it.
    """
    here, links = "/", 0
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    fd = os.open("/", _PLACE)
    try:
        while todo:
            above = os.fstat(fd)
            _require_parent(above, here, path)
            part = todo.pop()
            try:
                found = os.stat(part, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                if todo or not make:
                    raise
                with contextlib.suppress(FileExistsError):  # another process was faster
                    os.mkdir(part, 0o700, dir_fd=fd)
                found = os.stat(part, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode) and (todo or follow):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                _require_trusted_link(found, above, os.path.join(here, part), path)
                target = os.readlink(part, dir_fd=fd)
                todo += [each for each in reversed(target.split("/")) if each not in ("", ".")]
                if not target.startswith("/"):
                    continue
                part, here = "/", "/"
            elif not stat.S_ISDIR(found.st_mode):
                raise UnsafeLockFile(
                    f"{os.path.join(here, part)} is not a directory: set LEADERLOCK_DIR to a "
                    f"directory of your own"
                )
            below = os.open(part, _PLACE, dir_fd=fd)
            fd, before = below, fd
            os.close(before)
            if part != "/":
                here = os.path.normpath(os.path.join(here, part))  # no symlinks in it: ".." is safe
        return Directory(path, fd)
    except OSError as error:
        os.close(fd)
        raise LockFileUnusable(
            error, "make the directory" if make else "open the directory", path, _REMEDY
        ) from error
    except BaseException:
        os.close(fd)
        raise


def _require_parent(status: os.stat_result, here: str, path: str) -> None:
    """Refuse a directory whose entries others can rename: they could replace ours by another one."""
    if not _is_trusted(status.st_uid):
        raise UnsafeParent(
            f"{path} is not safe: {here} above it belongs to user {status.st_uid}, and that user could "
            f"replace the directory. Set LEADERLOCK_DIR to a directory whose parents belong to root or "
            f"user {os.geteuid()}"
        )
    # In a sticky directory others cannot rename entries of ours or root's; the owner of the entry is
    # checked next.
    if status.st_mode & _WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
        who = "everybody" if status.st_mode & stat.S_IWOTH else f"group {status.st_gid}"
        mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
        raise UnsafeParent(
            f"{path} is not safe: {who} can write to {here} above it ({mode}), and could replace the "
            f"directory. Run `chmod go-w {here}`, or set LEADERLOCK_DIR to a directory whose parents "
            f"other users cannot write to"
        )


def _require_trusted_link(status: os.stat_result, above: os.stat_result, link: str, path: str) -> None:
    if not _is_trusted(status.st_uid) or above.st_mode & _WRITABLE_BY_OTHERS:
        raise UnsafeParent(
            f"{path} is not safe: it leads through the symlink {link} of user {status.st_uid}, in a "
            f"directory of mode {stat.S_IMODE(above.st_mode):04o}, and others could change it. "
            f"Set LEADERLOCK_DIR to a path without this symlink"
        )


def _require_private(status: os.stat_result, path: str) -> None:
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid == os.geteuid():
        if status.st_mode & 0o077:
            raise UnsafeLockFile(
                f"{path} is open to other users ({mode}): run `chmod 0700 {path}`, or set "
                f"LEADERLOCK_DIR to a directory that only user {os.geteuid()} can use"
            )
    elif status.st_uid != 0 or status.st_mode & _WRITABLE_BY_OTHERS:
        raise UnsafeLockFile(
            f"{path} belongs to user {status.st_uid} ({mode}), and others could replace the lock files "
            f"in it: set LEADERLOCK_DIR to a directory of user {os.geteuid()}"
        )


def _is_trusted(user: int) -> bool:
    """Whether `user` is root, this user, or a user unknown to a user namespace that has no root."""
    return is_ours(user) or (user == _overflow_user() and _has_no_root())


def _overflow_user() -> int:
    try:
        with open("/proc/sys/kernel/overflowuid", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return -1


def _has_no_root() -> bool:
    """Whether this namespace has no user 0: then root's directories appear as the overflow user's."""
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return all(line.split()[0] != "0" for line in file)
    except OSError:
        return False
