"""The kernel's own list of flocks and of those who wait for them: ``/proc/locks``."""

from __future__ import annotations

from leaderlock.kernel.mounts import place_of

_ONE_PIECE = 3500
"""Bytes; the kernel hands out a longer table in pieces, each of at most a page."""

_READINGS = 5
"""A long table that changes all the time is taken as it was read at last."""


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
    table = read_locks()
    return None if table is None else [_parse(line) for line in table if b" FLOCK " in line]


def flocks_on(fd: int) -> list[FlockEntry] | None:
    """The entries for the file behind a descriptor: its holders first, then the queue in order."""
    table = read_locks()
    if table is None:
        return None
    (major, minor), inode = place_of(fd)
    place = b" %02x:%02x:%d " % (major, minor, inode)
    entries = [_parse(line) for line in table if place in line and b" FLOCK " in line]
    return sorted(entries, key=lambda entry: entry.waiting)


def read_locks() -> list[bytes] | None:
    """The lines of ``/proc/locks``; None where there is none.

    Between the pieces of a long table others lock and unlock, so that an entry could be missed or come
    twice: such a table is read until two readings agree, but no more than five times.
    """
    try:
        with open("/proc/locks", "rb", buffering=0) as file:
            before, table = None, file.read()
            for _ in range(_READINGS - 1):
                if table == before or len(table) < _ONE_PIECE:
                    break
                file.seek(0)
                before, table = table, file.read()
    except FileNotFoundError:
        return None
    return table.splitlines()


def _parse(line: bytes) -> FlockEntry:
    # "1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF", or "1: -> FLOCK ..." for one that waits.
    fields = line.split()
    waiting = fields[1] == b"->"
    _, _, access, pid, place, *_ = fields[1 + waiting :]
    major, minor, inode = place.split(b":")
    return FlockEntry(
        int(pid), waiting, access == b"WRITE", (int(major, 16), int(minor, 16)), int(inode)
    )
