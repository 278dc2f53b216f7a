"""Who holds a file's flock and who waits for it, in the order in which they will get it."""

from __future__ import annotations

import os
from contextlib import closing

from leaderlock.kernel.proc.table import FlockEntry, once, readings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.open_files import Place


def queue_on(device: tuple[int, int], inode: int) -> list[FlockEntry] | None:
    """The entries for one file: its holders, then those who wait, who comes first first.

    Since Linux 4.20 waiters form a tree: each hangs on the holder, or on the waiter before it that it
    conflicts with, and ``/proc/locks`` indents it by its depth there. Depth is therefore the order:
    those who wait shared beside each other get the lock together, before those who hang on them. (Linux
    4.20 to 5.12 shows the first level only: `shows_whole_queue`.)

    A lock and its queue come out as one piece, whole. But between two pieces others lock and unlock,
    and then the kernel may go past a piece, or give it twice: that a lock is free is believed only when
    several readings agree, and of a lock that comes twice the last one counts.

    Args:
        device: major and minor number, as in ``/proc/locks``.
        inode: likewise (`leaderlock.kernel.proc.mounts.place_of`).

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
    """Who holds and who waits, of every file at one moment: for one who asks about many of them.

    As in `queue_on`, a lock that any of the readings shows is believed to be held.
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
        """The entries for one file, as `queue_on` gives them."""
        lines = self._lines.get(b"%02x:%02x:%d" % (*device, inode), [])
        found = [(_depth(line), _entry(line, device, inode)) for line in once(lines)]
        return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]

    def holders(self) -> dict[Place, int]:
        """Who holds a flock on which file: one of them, where several share it."""
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
    """The lines of flocks by their place, as the table writes it."""
    found: dict[bytes, list[bytes]] = {}
    for line in table.splitlines():
        if b" FLOCK " in line:
            found.setdefault(line.rsplit(None, 3)[1], []).append(line)
    return found


def shows_whole_queue() -> bool:
    """Whether this kernel's ``/proc/locks`` shows all who wait, and not only the first ones."""
    major, minor, *_ = os.uname().release.split("-")[0].split(".")
    version = (int(major), int("".join(c for c in minor if c.isdigit())))
    return not (4, 20) <= version < (5, 13)


def _depth(line: bytes) -> int:
    # "1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF", and a waiter's "1:  -> FLOCK ...".
    after = line.partition(b":")[2]
    return after.index(b"->") if b"->" in after else 0


def _entry(line: bytes, device: tuple[int, int], inode: int) -> FlockEntry:
    return FlockEntry(_pid(line), b"->" in line, b" WRITE " in line, device, inode)


def _pid(line: bytes) -> int:
    return int(line[line.index(b" FLOCK ") :].split()[3])
