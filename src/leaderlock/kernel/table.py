"""The kernel's own list of flocks and of those who wait for them: ``/proc/locks``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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


def read_locks() -> list[bytes] | None:
    """The lines of ``/proc/locks``; None where there is none.

    Between the pieces of a long table others lock and unlock, so that an entry could be missed or come
    twice: such a table is read until two readings agree, but no more than five times.
    """
    table = None
    for reading in readings():
        if reading == table or len(reading) < _ONE_PIECE:
            return reading.splitlines()
        table = reading
    return None if table is None else table.splitlines()


def readings() -> Iterator[bytes]:
    """The table, read anew each time, five times; nothing where there is none.

    From one descriptor: the kernel's buffer grows to the largest piece, and stays so large for the
    next reading, which it then breaks off the less often.
    """
    try:
        file = open("/proc/locks", "rb", buffering=0)  # noqa: SIM115  (closed below, after the last)
    except FileNotFoundError:
        return
    with file:
        for _ in range(_READINGS):
            file.seek(0)
            yield file.read()
