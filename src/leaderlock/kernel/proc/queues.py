"""The holders of a file's flock, and its waiters in the order in which the lock is granted."""

from __future__ import annotations

import os
from contextlib import closing

from leaderlock.kernel.proc.table import FlockEntry, once, readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.open_files import Place


def queue_on(device: tuple[int, int], inode: int) -> list[FlockEntry] | None:
    """The entries for one file: its holders, then its waiters, the next in line first.

    Since Linux 4.20 waiters form a tree: the parent of a waiter is the holder, or an earlier waiter
    that conflicts with the waiter. ``/proc/locks`` indents each waiter by its depth in the tree. So the
    depth is the order: shared waiters at one depth get the lock together, before the waiters below
    them. (Linux 4.20 to 5.12 shows the first level only: `shows_whole_queue`.)

    The kernel prints a lock with its whole queue as one piece. But between two pieces other processes
    lock and unlock, and the kernel may then skip a piece, or print it twice. So a lock counts as free
    only if several readings agree, and of a lock printed twice the last piece counts.

    Args:
        device: major and minor number, as in ``/proc/locks``.
        inode: the inode number, as in ``/proc/locks`` (`leaderlock.kernel.proc.mounts.place_of`).

    Returns:
        None where there is no ``/proc/locks``.
    """
    place = b" %02x:%02x:%d " % (*device, inode)
    with closing(readings()) as tables:
        for table in tables:
            lines = [line for line in table.splitlines() if place in line and b" FLOCK " in line]
            if lines:
                found = [(_depth(line), _entry(line, device, inode)) for line in once(lines)]
                return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]
    return [] if os.path.exists("/proc/locks") else None


class AllFlocks:
    """Holders and waiters of every file at one moment, for a caller with many files.

    As in `queue_on`, a lock counts as held if any of the readings shows it.
    """

    def __init__(self) -> None:
        self._lines: dict[bytes, list[bytes]] = {}
        self._holders: dict[Place, int] | None = None
        before = None
        with closing(readings()) as tables:
            for table in tables:
                if table != before:
                    self._lines.update(_by_place(table))
                before = table

    def on(self, device: tuple[int, int], inode: int) -> list[FlockEntry]:
        """The entries for one file, as `queue_on` returns them."""
        lines = self._lines.get(b"%02x:%02x:%d" % (*device, inode), [])
        found = [(_depth(line), _entry(line, device, inode)) for line in once(lines)]
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def holders(self) -> dict[Place, int]:
        """From each locked file to its holder: one of the holders, where several share the lock."""
        if self._holders is not None:
            return self._holders
        found: dict[Place, int] = {}
        for place, lines in self._lines.items():
            holding = [line for line in lines if b"->" not in line]
            if holding:
                major, minor, inode = place.split(b":")
                found[(int(major, 16), int(minor, 16)), int(inode)] = _pid(holding[-1])
        self._holders = found
        return found


def _by_place(table: bytes) -> dict[bytes, list[bytes]]:
    """The lines of flocks, by the file's place as the table prints it."""
    found: dict[bytes, list[bytes]] = {}
    for line in table.splitlines():
        if b" FLOCK " in line:
            found.setdefault(line.rsplit(None, 3)[1], []).append(line)
    return found


def shows_whole_queue() -> bool:
    """Whether this kernel's ``/proc/locks`` shows all waiters, and not only the first level."""
    major, minor, *_ = os.uname().release.split("-")[0].split(".")
    version = (int(major), int("".join(c for c in minor if c.isdigit())))
    return not (4, 20) <= version < (5, 13)


def _depth(line: bytes) -> int:
    # "1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF", and for a waiter "1:  -> FLOCK ...".
    after = line.partition(b":")[2]
    return after.index(b"->") if b"->" in after else 0


def _entry(line: bytes, device: tuple[int, int], inode: int) -> FlockEntry:
    return FlockEntry(_pid(line), b"->" in line, b" WRITE " in line, device, inode)


def _pid(line: bytes) -> int:
    return int(line[line.index(b" FLOCK ") :].split()[3])
