"""Every error leaderlock raises: each says what happened, to which path, and what to do about it."""

from __future__ import annotations

import os


class LeaderLockError(Exception):
    """The base of all errors of this package."""


class LockFileUnusable(LeaderLockError, OSError):
    """The system refused to open, lock or write the lock file, or the inbox's FIFO.

    An `OSError` too, with its ``errno`` and ``filename``: a missing directory (ENOENT), no permission
    (EACCES), a read-only file system (EROFS), no space left for the record (ENOSPC), no descriptor
    left (EMFILE).
    """

    def __init__(self, cause: OSError, doing: str, path: str, remedy: str = "") -> None:
        text = f"cannot {doing}: {os.strerror(cause.errno or 0)}"
        super().__init__(cause.errno, f"{text}; {remedy}" if remedy else text, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class UnsafeLockFile(LeaderLockError):
    """The path is a symlink, not a regular file, or it or its directory belongs to somebody else."""


class CorruptLockFile(LeaderLockError):
    """The file's content is not a record of ours, so the next term cannot be known."""


class LockFileReplaced(LeaderLockError):
    """The path no longer names the file that is locked: somebody deleted or replaced it."""


class NetworkFilesystem(LeaderLockError):
    """The path lies on a network file system, where flock may be local, slow, or absent."""


class LockTimeout(LeaderLockError, TimeoutError):
    """The lock was held by others for longer than the `timeout` of the `LeaderLock`."""


class LeadershipLost(LeaderLockError):
    """The caller leads no longer: its file was replaced, it resigned, or this is a forked child."""


class NotHeld(LeaderLockError, RuntimeError):
    """The operation needs the lock, and this object does not hold it in this process."""


class BlocksEventLoop(LeaderLockError, RuntimeError):
    """The call would wait in a thread whose event loop runs, and so stop everything that it serves."""


class Unsupported(LeaderLockError):
    """This system, file system or version cannot do what was asked."""
