"""The holder and the waiters of a lock: from the kernel's table, with details from the record."""

from __future__ import annotations

import os

from leaderlock.errors import Unsupported
from leaderlock.kernel.proc.mounts import place_of
from leaderlock.kernel.proc.processes import pid_in_its_namespace
from leaderlock.kernel.proc.queues import queue_on
from leaderlock.lock import record
from leaderlock.lock.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.lock.file import LockFile
    from leaderlock.lock.leader_lock import LeaderLock
    from leaderlock.lock.memory_file import MemoryFile


class Standing:
    """The holder of a lock and the waiters for it, at one moment.

    Attributes:
        holder: None if no process holds the lock.
        waiting: the process IDs of the queue, in its order.
    """

    __slots__ = ("holder", "waiting")

    def __init__(self, holder: Record | None, waiting: list[int]) -> None:
        self.holder = holder
        self.waiting = waiting


def open_for_reading(lock: LeaderLock) -> int | None:
    """A new descriptor of a lock's file, which the caller closes; None if there is no file yet."""
    return lock._file.open_for_reading()


def standing(lock: LeaderLock) -> Standing | None:
    """`standing_of` a lock's file."""
    return standing_of(lock._file)


def standing_of(file: LockFile | MemoryFile) -> Standing | None:
    """The holder and the waiters; None if the file does not exist yet.

    Raises:
        Unsupported: this system has no ``/proc/locks``.
    """
    fd = file.open_for_reading()
    if fd is None:
        return None
    try:
        entries = queue_on(*place_of(fd))
        fields = record.decode(os.pread(fd, record.SIZE, 0))
    finally:
        os.close(fd)
    if entries is None:
        raise Unsupported("who holds a lock is read from /proc/locks, which this system does not have")
    waiting = [entry.pid for entry in entries if entry.waiting]
    if not entries or entries[0].waiting:
        return Standing(None, waiting)
    return Standing(_record(entries[0].pid, fields), waiting)


def _record(pid: int, fields: dict[str, Any] | None) -> Record:
    # A lock taken by flock(1) or another program leaves the previous holder's record in the file.
    if fields is None or fields["pid"] not in (pid, pid_in_its_namespace(pid)):
        return Record(pid, None, None, None, None)
    return Record(pid, fields["term"], fields["since"], fields["host"], fields["name"])
