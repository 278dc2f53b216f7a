"""The kernel's list of flocks and of their waiters: ``/proc/locks``."""

from __future__ import annotations

import os
from contextlib import closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

_READINGS = 20
"""At most so many readings: if the table still changes, the last reading counts."""

_ALIKE = 3
"""After so many identical readings in a row, the table is stable, and the reading ends."""


class FlockEntry:
    """One flock of ``/proc/locks``, held or waited for (proc_locks(5)).

    Attributes:
        pid: the process that called flock; other processes may have got the description since.
        waiting: False for a holder, True for a waiter in the queue.
        exclusive: True for LOCK_EX, False for LOCK_SH.
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
    """The lines of ``/proc/locks`` that contain `place`; None where there is no such table.

    The table is read until two readings agree on these lines: see `readings`.
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
    """The lines, with each lock once: if the kernel has printed a lock twice, the last piece counts.

    Each lock has its own number, and its waiters have the same number. Two equal locks of one process
    (shared locks) become one.
    """
    pieces: dict[bytes, list[bytes]] = {}
    for line in lines:
        pieces.setdefault(line.partition(b":")[0], []).append(line)
    by_holder = {piece[0].partition(b":")[2]: piece for piece in pieces.values()}
    return [line for piece in by_holder.values() for line in piece]


def readings() -> Generator[bytes, None, None]:
    """The table, read again at each step until it is stable; nothing where there is no table.

    The caller must close the generator. The kernel prints the table in pieces (a page, or one lock with
    its queue). Between two pieces others lock and unlock, so any entry, even the last, may be missing
    or come twice without notice. One descriptor serves all readings: the kernel's buffer of this
    descriptor grows to the largest piece and keeps that size.
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
