"""The errors for system calls on a lock's file that failed, each with its remedy."""

from __future__ import annotations

import errno

from leaderlock.errors import LockFileUnusable, Unsupported

_REMEDIES = {
    errno.ENOENT: "make its directory first",
    errno.EACCES: "give this user write permission on the file and its directory, "
    "or choose another path",
    errno.EPERM: "choose a path that this user may write",
    errno.EROFS: "the file system is mounted read-only: choose a path on a writable one, "
    "or LeaderLock.anonymous()",
    errno.ENOSPC: "free some space on the file system (a lock needs one block)",
    errno.EDQUOT: "free some of this user's quota (a lock needs one block)",
    errno.EMFILE: "this process has too many files open: raise `ulimit -n` or close some",
    errno.ENFILE: "the system has too many files open: raise fs.file-max",
    errno.ENOLCK: "the file system's lock service does not answer (NFS without lockd?)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of its path is not a directory",
}


_KERNELS = ("/proc/", "/sys/", "/dev/fd/")


def unusable(cause: OSError, doing: str, path: str) -> LockFileUnusable:
    """The error for a system call on the lock file that failed, with its remedy."""
    remedy = _REMEDIES.get(cause.errno or 0, "")
    if path.startswith(_KERNELS) and cause.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
        remedy = "no file can be made in the kernel's own file systems: choose a path below /run"
    return LockFileUnusable(cause, doing, path, remedy)


def refusal(error: OSError, path: str) -> Unsupported | LockFileUnusable:
    """The error for a flock that the system refuses."""
    if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        return Unsupported(
            f"{path}: its file system has no flock ({error.strerror}); choose another path"
        )
    return unusable(error, "lock the file", path)
