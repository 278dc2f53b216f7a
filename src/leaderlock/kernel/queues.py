"""Who holds a file's flock and who waits for it, in the order in which they will get it."""

from __future__ import annotations

import os

from leaderlock.kernel.table import FlockEntry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.openfiles import Place

_TRIES = 5


def queue_on(device: tuple[int, int], inode: int) -> list[FlockEntry] | None:
    """The entries for one file: its holders, then those who wait, who comes first first.

    Since Linux 4.20 waiters form a tree: each hangs on the holder, or on the waiter before it that it
    conflicts with, and ``/proc/locks`` indents it by its depth there. Depth is therefore the order:
    those who wait shared beside each other get the lock together, before those who hang on them. (Linux
    4.20 to 5.12 shows the first level only: `shows_whole_queue`.)

    The kernel hands its table out in pieces, between which locks come and go, so that an entry may be
    missing or stand there twice: what was read twice alike is right.

    Args:
        device: major and minor number, as in ``/proc/locks``.
        inode: likewise (`leaderlock.kernel.mounts.place_of`).

    Returns:
        None where there is no ``/proc/locks``.
    """
    place = b" %02x:%02x:%d " % (*device, inode)
    before = None
    for _ in range(_TRIES):
        table = _table()
        if table is None:
            return None
        lines = [line for line in table.splitlines() if place in line and b" FLOCK " in line]
        if lines == before:
            break
        before = lines
    found = [(_depth(line), _entry(line, device, inode)) for line in before or []]
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def holders() -> dict[Place, int]:
    """Who holds a flock on which file: one of them, where several share it."""
    found: dict[Place, int] = {}
    for line in (_table() or b"").splitlines():
        if b" FLOCK " in line and b"->" not in line:
            _, _, _, pid, place, *_ = line[line.index(b" FLOCK ") :].split()
            major, minor, inode = place.split(b":")
            found[(int(major, 16), int(minor, 16)), int(inode)] = int(pid)
    return found


def shows_whole_queue() -> bool:
    """Whether this kernel's ``/proc/locks`` shows all who wait, and not only the first ones."""
    major, minor, *_ = os.uname().release.split("-")[0].split(".")
    version = (int(major), int("".join(c for c in minor if c.isdigit())))
    return not (4, 20) <= version < (5, 13)


def _table() -> bytes | None:
    try:
        fd = os.open("/proc/locks", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    pieces = []
    try:
        while piece := os.read(fd, 1 << 20):
            pieces.append(piece)
    finally:
        os.close(fd)
    return b"".join(pieces)


def _depth(line: bytes) -> int:
    # "1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF", and a waiter's "1:  -> FLOCK ...".
    after = line.partition(b":")[2]
    return after.index(b"->") if b"->" in after else 0


def _entry(line: bytes, device: tuple[int, int], inode: int) -> FlockEntry:
    _, _, access, pid, *_ = line[line.index(b" FLOCK ") :].split()
    return FlockEntry(int(pid), b"->" in line, access == b"WRITE", device, inode)
