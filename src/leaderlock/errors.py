"""All errors of leaderlock: each message names the event, the path and the remedy."""

from __future__ import annotations

import os


class LeaderLockError(Exception):
    """The base of all errors of this package."""


class LockFileUnusable(LeaderLockError, OSError):
    """The system refused to open, lock or write the lock file, or the inbox's FIFO.

    Also an `OSError`, with its ``errno`` and ``filename``: a missing directory (ENOENT), no permission
    (EACCES), a read-only file system (EROFS), no space left for the record (ENOSPC), no descriptor
    left (EMFILE).
    """

    def __init__(self, cause: OSError, doing: str, path: str, remedy: str = "") -> None:
        text = f"cannot {doing}: {os.strerror(cause.errno or 0)}"
        super().__init__(cause.errno, f"{text}; {remedy}" if remedy else text, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


class UnsafeLockFile(LeaderLockError):
    """The path is a symlink, not a regular file, or it or its directory belongs to another user."""


class CorruptLockFile(LeaderLockError):
    """The file does not contain a leaderlock record, so the next term is unknown."""


class LockFileReplaced(LeaderLockError):
    """The path no longer names the locked file: another program deleted or replaced it."""


class NetworkFilesystem(LeaderLockError):
    """The path is on a network file system, where flock may be local, slow or missing."""


class LockTimeout(LeaderLockError, TimeoutError):
    """Another process held the lock for longer than the `timeout` of the `LeaderLock`."""


class LeadershipLost(LeaderLockError):
    """The caller no longer leads: its file was replaced, it resigned, or it is a forked child."""


class NotHeld(LeaderLockError, RuntimeError):
    """The operation needs the lock, but this object does not hold it in this process."""


class BlocksEventLoop(LeaderLockError, RuntimeError):
    """The call would wait in a thread that runs an event loop, and so block that loop."""


class NoThreadLeft(LeaderLockError, RuntimeError):
    """The system starts no more threads for this process; nothing was begun.

    Also a `RuntimeError`, as Python's own error for this.
    """

    def __init__(self) -> None:
        super().__init__(
            "no thread can be started: a limit of processes and threads, or of memory, is reached; "
            "raise `ulimit -u`, the cgroup's pids.max or the systemd unit's TasksMax="
        )


class Unsupported(LeaderLockError):
    """This system, file system or version does not support the request."""


class EngineUnusable(LeaderLockError):
    """The engine refuses: wrong credentials, a missing right, a key that another program owns."""


class EngineUnreachable(EngineUnusable):
    """The engine does not answer at the moment; a later try may succeed."""
