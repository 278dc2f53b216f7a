"""The status of a lock as data: the result of `status_of`, and its JSON form."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Filesystem(NamedTuple):
    """The file system that a lock file lies on.

    Attributes:
        type: for example ``ext4``.
        mount_point: where the file system is mounted.
        source: the device or server.
        network: whether several machines can mount the file system.
    """

    type: str
    mount_point: str
    source: str
    network: bool


class ProcessStatus(NamedTuple):
    """A process. A field is None if the caller may not see its value.

    Attributes:
        pid: the process ID in the caller's PID namespace.
        command: the command line.
        user: the name of the effective user; the user ID as text if it has no name.
        uid: the effective user ID.
        container: the container runtime and the beginning of the container's ID,
            ``docker 0123456789ab``; None if the process is in no container, or if this is unknown.
        cgroup: the path of the control group.
        state: one letter, as in proc_pid_stat(5): S sleeps, R runs, D sleeps uninterruptibly, T is
            stopped, Z is a zombie.
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
        pid: the process ID in the kernel's lock table.
        command, user, uid, container, cgroup, state: the same as in `ProcessStatus`.
        host: the host name in the record; None, like the next four, if the holder wrote no record.
        term: the fencing token of the acquisition.
        since: the time of the acquisition, in seconds since the epoch.
        lease: the longest time between two beats, in seconds; a late holder is killed. None without
            a lease.
        last_beat: the time of the last beat, in seconds since the epoch; None if there was none.
        frozen: whether the holder's control group is frozen.
        kept_by: the processes that keep the lock although the process that took it has ended.
        keeper: the process ID of its keeper, a child that shares its memory (docs/keeper.md); None
            without one.
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
    keeper: int | None = None


class LockWarning(NamedTuple):
    """A problem of a lock that needs attention.

    Attributes:
        code: an identifier for programs; `WARNINGS` lists all.
        text: the problem and the remedy.
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
    """The holder of a lock and the processes that wait for it, at one moment.

    Attributes:
        path: the path of the lock file; ``memfd:NAME`` for an anonymous lock. `` (deleted)`` follows if
            no path leads to the file any more.
        name: the lock's name in the record; None without one.
        filesystem: None for an anonymous lock, or if the kernel does not report the file system.
        device: major and minor number in the kernel's lock table, ``8:1``.
        inode: the inode number in the kernel's lock table.
        holder: None if no process holds the lock.
        waiting: the queue; the first process gets the lock next.
        warnings: the most serious first.
        hidden: what this process may not see, why, and who may see it; None if nothing is hidden.
        unreadable: the reason why the record cannot be read; None if it can.
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
        """One entry of ``locks`` in the output of ``leaderlock status --json``, as a dict.

        status.schema.json in this directory is the JSON Schema of the whole document.
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
