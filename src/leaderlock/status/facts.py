"""The facts about one lock, as plain values: `gathering` reads them, and `judging` judges them."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.status.model import Filesystem, ProcessStatus

STUCK = 0.1
"""Seconds of uninterruptible sleep after which a process counts as stuck."""

_CLOCK_SLACK = 3.0
"""Seconds of error in a process's start time, which is computed from the boot time."""


class Asker(NamedTuple):
    """The process that asks, and the limits of its view.

    Attributes:
        pid: its process ID.
        user: the name of its effective user.
        in_pid_namespace: whether it is in a container: the kernel hides processes outside of it.
        hidepid: the ``hidepid=`` option of ``/proc``, or None.
        sees_whole_queue: whether this kernel shows all waiting processes.
        kernel: the release of the kernel.
    """

    pid: int
    user: str
    in_pid_namespace: bool
    hidepid: str | None
    sees_whole_queue: bool
    kernel: str


class FileFacts(NamedTuple):
    """The lock file.

    Attributes:
        path: the path to show.
        reached_by: the path that led to the file; another one for ``/proc/PID/fd/N``.
        device: major and minor number, as in ``/proc/locks``.
        inode: the inode number.
        filesystem: None if the kernel does not report it.
        owner: the user ID of the owner.
        owner_name: the name of the owner.
        mode: the permission bits.
        unreadable: the reason why the record cannot be read; None if it can.
    """

    path: str
    reached_by: str
    device: tuple[int, int]
    inode: int
    filesystem: Filesystem | None
    owner: int
    owner_name: str
    mode: int
    unreadable: str | None


class RecordFacts(NamedTuple):
    """The record in the lock file.

    Attributes:
        fields: the fields by name; None if there is no valid record.
        oddity: the fields that leaderlock never writes so, if the checksum is right; None otherwise.
        is_empty: whether the file is empty.
    """

    fields: dict[str, Any] | None
    oddity: str | None
    is_empty: bool


class BeatFacts(NamedTuple):
    """The history's entry for the newest term: its number, its lease, and its last noted beat."""

    term: int
    lease: float | None
    last_beat: float | None


class TakerFacts(NamedTuple):
    """The process that took the lock. It may have ended: another one may keep the lock.

    Attributes:
        process: its details; the process ID is 0 if the kernel's table does not name the process.
        exists: whether a process has this ID.
        own_pid: its process ID in its own PID namespace; None if that is not visible.
        started: its start time, in seconds since the epoch; None if that is not visible.
        is_frozen: whether its control group is frozen.
        is_stuck: whether it stays in one uninterruptible sleep (`STUCK`).
        keeper: the process ID of its keeper; None without one.
    """

    process: ProcessStatus
    exists: bool
    own_pid: int | None
    started: float | None
    is_frozen: bool
    is_stuck: bool
    keeper: int | None = None

    def wrote(self, fields: dict[str, Any] | None) -> bool:
        """Whether the record is this process's."""
        return fields is not None and is_record_of(fields, self.process.pid, self.own_pid)

    def has_ended(self, fields: dict[str, Any] | None) -> bool:
        """Whether the process that took the lock has ended; its PID may have been reused."""
        if self.process.state in ("Z", "X"):
            return True
        if self.process.state is None:
            return not self.exists
        if fields is None or not self.wrote(fields) or self.started is None:
            return False
        return bool(self.started > fields["since"] + _CLOCK_SLACK)


class Rival(NamedTuple):
    """A process that holds the lock of a deleted file; `descriptor` is its ``/proc/PID/fd/N``."""

    pid: int
    descriptor: str


class LockFacts(NamedTuple):
    """The facts about one lock, read at one moment.

    Attributes:
        file: the lock file.
        record: its record; None if that cannot be read, or did not come to fit the holder.
        beat: the history's entry for the taker's term; None if there is none.
        taker: the process that took the lock; None if no process holds the lock.
        holders: the number of holders in the kernel's table: flock(1) can share a lock.
        carriers: the processes whose descriptors carry the lock; only read if the taker has ended.
        waiting: the queue, the next in line first.
        unseen: the IDs of the processes that exist, but of which ``/proc`` shows nothing.
        rivals: the holders of the lock of a file that was deleted from the same path.
    """

    file: FileFacts
    record: RecordFacts | None
    beat: BeatFacts | None
    taker: TakerFacts | None
    holders: int
    carriers: list[ProcessStatus]
    waiting: list[ProcessStatus]
    unseen: list[int]
    rivals: list[Rival]


class SearchFacts(NamedTuple):
    """The result of a search for all locks.

    Attributes:
        paths: the path of each lock.
        closed: the directories that could not be read.
        unseen: the number of locked files that could not be examined, and so may be locks.
    """

    paths: list[str]
    closed: list[str]
    unseen: int


def is_record_of(fields: dict[str, Any], pid: int, own_pid: int | None) -> bool:
    """Whether the process wrote the record, with its process ID here or in its own PID namespace."""
    return fields["pid"] in (pid, own_pid)


def process_in(path: str) -> int | None:
    """The process ID in a ``/proc/PID/fd/N`` (also of a thread); None for any other path."""
    parts = path.split("/")
    if len(parts) >= 5 and parts[:2] == ["", "proc"] and parts[2].isdecimal() and parts[-2] == "fd":
        return int(parts[2])
    return None
