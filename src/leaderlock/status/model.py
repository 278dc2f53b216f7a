"""The status of a lock as data: what `status_of` returns, and its JSON form."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Filesystem(NamedTuple):
    """The file system that a lock file lies on.

    Attributes:
        type: ``ext4``, say.
        mount_point: where it is mounted.
        source: the device or server.
        network: whether several machines can have it mounted.
    """

    type: str
    mount_point: str
    source: str
    network: bool


class ProcessStatus(NamedTuple):
    """A process, as far as the asking one may see it: what may not be seen is None.

    Attributes:
        pid: its number, as the asking process sees it.
        command: its command line.
        user: the name of the user it acts as; the number if there is no such name.
        uid: that user's number.
        container: its runtime and the beginning of its ID, ``docker 0123456789ab``; None if it is in
            none, or that cannot be told.
        cgroup: the path of its control group.
        state: one letter, as in proc_pid_stat(5): S sleeps, R runs, D sleeps and cannot be
            interrupted, T is stopped, Z has ended and was not waited for.
    """

    pid: int
    command: str | None
    user: str | None
    uid: int | None
    container: str | None
    cgroup: str | None
    state: str | None


class HolderStatus(NamedTuple):
    """The process that holds the lock.

    Attributes:
        pid: its number in the kernel's lock table.
        command, user, uid, container, cgroup, state: as of `ProcessStatus`.
        host: the host name in its record; None, as the next four, if the holder wrote no record.
        term: the fencing token of its acquisition.
        since: when it acquired the lock, in seconds since the epoch.
        lease: within how many seconds it must beat, or is killed; None without a lease.
        last_beat: when it last did, in seconds since the epoch; None if it never has.
        frozen: whether its control group is frozen.
        kept_by: the processes that keep the lock although the one that took it has gone.
    """

    pid: int
    command: str | None
    user: str | None
    uid: int | None
    container: str | None
    cgroup: str | None
    state: str | None
    host: str | None
    term: int | None
    since: float | None
    lease: float | None
    last_beat: float | None
    frozen: bool
    kept_by: list[ProcessStatus]


class LockWarning(NamedTuple):
    """Something about a lock that somebody should see to.

    Attributes:
        code: for programs; `WARNINGS` has them all.
        text: what is wrong, and what to do.
    """

    code: str
    text: str


WARNINGS = (
    "file-deleted",
    "leader-stopped",
    "leader-uninterruptible",
    "leader-zombie",
    "leader-frozen",
    "lease-late",
    "foreign-holder",
    "kept-by-orphan",
    "record-corrupt",
    "record-odd",
    "foreign-owner",
    "world-writable",
)


class LockStatus(NamedTuple):
    """Who holds a lock and who waits for it, at one moment.

    Attributes:
        path: where the lock lies; ``memfd:NAME`` for an anonymous one, with `` (deleted)`` behind it if
            no path leads there any more.
        name: its name in the record; None without one.
        filesystem: None for an anonymous lock, or where the kernel does not tell.
        device: major and minor number in the kernel's lock table, ``8:1``.
        inode: the inode number there.
        holder: None if nobody holds it.
        waiting: the queue: who gets the lock next stands first.
        warnings: the gravest first.
        hidden: what this process may not see, why, and who may; None if nothing is hidden.
        unreadable: why the record cannot be read; None if it can.
    """

    path: str
    name: str | None
    filesystem: Filesystem | None
    device: str
    inode: int
    holder: HolderStatus | None
    waiting: list[ProcessStatus]
    warnings: list[LockWarning]
    hidden: str | None
    unreadable: str | None

    def as_json(self) -> dict[str, Any]:
        """One entry of ``locks`` in what ``leaderlock status --json`` prints: a dict for JSON.

        status.schema.json in this directory is the JSON Schema of the whole.
        """
        holder = self.holder
        return {
            "path": self.path,
            "name": self.name,
            "filesystem": None if self.filesystem is None else self.filesystem._asdict(),
            "device": self.device,
            "inode": self.inode,
            "holder": None
            if holder is None
            else {**holder._asdict(), "kept_by": [process._asdict() for process in holder.kept_by]},
            "waiting": [process._asdict() for process in self.waiting],
            "warnings": [warning._asdict() for warning in self.warnings],
            "hidden": self.hidden,
            "unreadable": self.unreadable,
        }
