"""The kernel's own list of locks and of those who wait for them: ``/proc/locks``."""

from __future__ import annotations

import os

from leaderlock.kernel.mounts import mount_of


class FlockEntry:
    """One flock of ``/proc/locks``, held or waited for (proc_locks(5)).

    Attributes:
        pid: the process that called flock; the description may have passed on to others since.
        waiting: False for a holder, True for one in the queue.
        exclusive: LOCK_EX, or LOCK_SH.
        device: major and minor number of the file system.
        inode: the file's inode number.
    """

    __slots__ = ("device", "exclusive", "inode", "pid", "waiting")

    def __init__(
        self, pid: int, waiting: bool, exclusive: bool, device: tuple[int, int], inode: int
    ) -> None:
        self.pid = pid
        self.waiting = waiting
        self.exclusive = exclusive
        self.device = device
        self.inode = inode


def flock_table() -> list[FlockEntry] | None:
    """Every flock that this process may see, each holder followed by its queue in order.

    The kernel leaves out processes of PID namespaces that cannot be seen from here. None where there
    is no ``/proc/locks``.
    """
    try:
        with open("/proc/locks", encoding="ascii") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError:
        return None
    return [_parse(fields) for fields in lines if "FLOCK" in fields[1:3]]


def _parse(fields: list[str]) -> FlockEntry:
    # "1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF", or "1: -> FLOCK ..." for one that waits.
    waiting = fields[1] == "->"
    _, _, access, pid, place, *_ = fields[1 + waiting :]
    major, minor, inode = place.split(":")
    return FlockEntry(
        int(pid), waiting, access == "WRITE", (int(major, 16), int(minor, 16)), int(inode)
    )


def flocks_on(fd: int) -> list[FlockEntry] | None:
    """The entries for the file behind a descriptor: its holders first, then the queue in order."""
    table = flock_table()
    if table is None:
        return None
    stat = os.fstat(fd)
    mount = mount_of(fd)
    device = mount.device if mount else (os.major(stat.st_dev), os.minor(stat.st_dev))
    entries = [e for e in table if e.inode == stat.st_ino and e.device == device]
    return sorted(entries, key=lambda entry: entry.waiting)
