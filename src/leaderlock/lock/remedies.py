"""The errors for paths that cannot be a lock's, and for system calls that failed, with the remedies."""

from __future__ import annotations

import errno
import stat

from leaderlock.errors import LockFileUnusable, UnsafeLockFile, Unsupported
from leaderlock.kernel.found_files import kind_of
from leaderlock.kernel.limits import REMEDIES

_REMEDIES = {
    errno.ENOENT: "make its directory first",
    errno.EACCES: "give this user write permission on the file and its directory, "
    "or choose another path",
    errno.EPERM: "choose a path that this user may write to",
    errno.EROFS: "the file system is mounted read-only: choose a path on a writable one, "
    "or LeaderLock.anonymous()",
    errno.ENOSPC: "free some space on the file system (a lock needs one block)",
    errno.EDQUOT: "free some of this user's quota (a lock needs one block)",
    errno.EMFILE: REMEDIES[errno.EMFILE],
    errno.ENFILE: REMEDIES[errno.ENFILE],
    errno.ENOLCK: "the lock service of the file system does not answer (NFS without lockd?): choose a "
    "local path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of the path is not a directory: correct the path",
}

_KERNELS = ("/proc/", "/sys/", "/dev/fd/", "/dev/pts/", "/dev/mqueue/")
_KERNELS_REMEDY = "no lock file can be made in the kernel's own file systems: choose a path below /run"


def is_kernels_own(path: str) -> bool:
    """Whether an absolute path lies in a file system of the kernel's own, such as ``/proc``.

    ``/proc/PID/root/run/app.lock`` does not: that path leads into the file system of a container.
    """
    return path.startswith(_KERNELS) and not {"root", "cwd"}.intersection(path.split("/"))


def require_possible(path: str) -> None:
    """Refuse a path that cannot have a lock file.

    Raises:
        UnsafeLockFile: the path is in the kernel's own file systems; a write to a file there may act.
    """
    if is_kernels_own(path):
        raise UnsafeLockFile(f"{path}: {_KERNELS_REMEDY}")


def not_regular(mode: int, path: str) -> UnsafeLockFile:
    """The error for a path that names no regular file."""
    if stat.S_ISLNK(mode):
        return UnsafeLockFile(
            f"{path} is a symlink, which could lead to any file: give the path of the file itself"
        )
    kind = kind_of(mode, "no regular file")
    return UnsafeLockFile(f"{path} is {kind}: give the path of a regular file, or a path that is free")


def require_regular(mode: int, path: str) -> None:
    """Refuse a path that names no regular file; the file may be any user's.

    Raises:
        UnsafeLockFile: the path is a symlink, a directory, or another kind of file.
    """
    if not stat.S_ISREG(mode):
        raise not_regular(mode, path)


def unusable(cause: OSError, doing: str, path: str) -> LockFileUnusable:
    """The error for a system call on the lock file that failed, with its remedy."""
    remedy = _REMEDIES.get(cause.errno or 0, "")
    if is_kernels_own(path) and cause.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
        remedy = _KERNELS_REMEDY
    return LockFileUnusable(cause, doing, path, remedy)


def refusal(error: OSError, path: str) -> Unsupported | LockFileUnusable:
    """The error for a flock that the system refuses."""
    if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        return Unsupported(
            f"{path}: its file system has no flock ({error.strerror}); choose another path"
        )
    return unusable(error, "lock the file", path)
