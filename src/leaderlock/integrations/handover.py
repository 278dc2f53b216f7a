"""Root creates a lock file and gives it to the user that the process will become.

After the change of user, the process cannot write to a directory such as ``/run``. The file's owner
is changed only if nobody but root could have put the file there. So a user cannot obtain another file
by this.
"""

from __future__ import annotations

import os
import stat

from leaderlock.errors import UnsafeLockFile
from leaderlock.lock.record import SIZE, last_term
from leaderlock.lock.remedies import require_regular, unusable

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


def hand_over(path: str, uid: int, gid: int) -> None:
    """As root: create the lock file if it is missing, and give it to a user.

    Do nothing if others than root may write to the directory (such a user can create the file), or if
    the file already belongs to the user. Neither acquire the lock nor disturb a holder.


    Raises:
        UnsafeLockFile: the file is not regular, belongs to a third user, or has several links.
        CorruptLockFile: the file contains data that is no lock record.
        LockFileUnusable: a system call failed.
    """
    try:
        directory = os.path.realpath(os.path.dirname(path))
        if not _is_roots_alone(os.path.dirname(path)) or not _is_roots_alone(directory):
            return
        fd = _open_or_create(os.path.join(directory, os.path.basename(path)))
    except OSError as error:
        raise unusable(error, "make the lock file ready for the worker's user", path) from error
    try:
        status = os.fstat(fd)
        if status.st_uid == uid:
            return
        _require_disposable(fd, status, path)
        os.fchown(fd, uid, gid)
        os.fchmod(fd, 0o600)
    except OSError as error:
        raise unusable(error, "give the lock file to the worker's user", path) from error
    finally:
        os.close(fd)


def _open_or_create(path: str) -> int:
    try:
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    # lstat before open: opening a device or a FIFO, named by mistake, could start it.
    require_regular(os.lstat(path).st_mode, path)
    return os.open(path, _FLAGS)


def _require_disposable(fd: int, status: os.stat_result, path: str) -> None:
    """Refuse a file that is not clearly root's lock file."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != 0:
        raise UnsafeLockFile(
            f"{path} is not given to the worker's user, since it belongs to user {status.st_uid} or "
            f"has {status.st_nlink} names: choose another path, or change its owner yourself"
        )
    last_term(os.pread(fd, SIZE, 0), path)


def _is_roots_alone(directory: str) -> bool:
    """Whether only root can put a file, or a symlink in its path, there."""
    status = os.stat(directory)
    if status.st_mode & 0o022:
        return False
    while status.st_uid == 0 and directory != "/":
        directory, status = os.path.dirname(directory), os.lstat(directory)
        # In a sticky directory (/tmp) only root can replace root's files; a symlink's mode is unused.
        replaceable = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if replaceable and not stat.S_ISLNK(status.st_mode):
            return False
    return status.st_uid == 0
