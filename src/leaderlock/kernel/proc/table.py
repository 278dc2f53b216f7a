"""The kernel's own list of flocks and of those who wait for them: ``/proc/locks``."""

from __future__ import annotations

import os
from contextlib import closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

_READINGS = 20
"""A table that changes all the time is taken as it was read at last."""

_ALIKE = 3
"""Readings in a row, to the byte the same, after which nobody reads again: nothing has happened."""


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


def read_locks(place: bytes = b"") -> list[bytes] | None:
    """The lines of ``/proc/locks`` that hold some bytes; None where there is none.

    It is read until two readings agree on these lines: see `readings`.
    """
    found: list[bytes] | None = None
    before: list[bytes] = []
    with closing(readings()) as tables:
        for table in tables:
            found = once([line for line in table.splitlines() if place in line])
            unnumbered = [line.partition(b":")[2] for line in found]
            if found and unnumbered == before:
                break
            before = unnumbered
    return found


def once(lines: list[bytes]) -> list[bytes]:
    """The lines without those of a lock that the kernel has given twice, of which the last one counts.

    Each has a number of its own, which it shares with those who wait for it. Two locks of one process
    that are alike (shared ones) are told as one.
    """
    pieces: dict[bytes, list[bytes]] = {}
    for line in lines:
        pieces.setdefault(line.partition(b":")[0], []).append(line)
    by_holder = {piece[0].partition(b":")[2]: piece for piece in pieces.values()}
    return [line for piece in by_holder.values() for line in piece]


def readings() -> Generator[bytes, None, None]:
    """The table, read anew each time, until it stands still; nothing where there is none. To be closed.

    It comes in pieces (of a page, or as much as one lock and its queue take), between which others lock
    and unlock, so that an entry is missed or comes twice; also the last one, and nothing tells. It is
    read from one descriptor: the kernel's buffer grows to the largest piece, and stays so large.
    """
    try:
        fd = os.open("/proc/locks", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        before, alike = None, 0
        for _ in range(_READINGS):
            os.lseek(fd, 0, os.SEEK_SET)
            pieces = []
            while piece := os.read(fd, 1 << 20):
                pieces.append(piece)
            table = b"".join(pieces)
            yield table
            alike = alike + 1 if table == before else 1
            if alike == _ALIKE:
                return
            before = table
    finally:
        os.close(fd)
