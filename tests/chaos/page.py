"""The shared page in which leaders mark their terms; see `page.c`. Shares no code with the library."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

CAPACITY = 20_000
"""Terms that one page can hold."""

_HEADER, _BOX, _SLOT = 4096, 64, 128
BOXES = 64
_SLOTS = _HEADER + BOXES * _BOX
_SOURCE = Path(__file__).with_name("page.c")

LEAK = 2
"""Descriptors that a process may keep: a harmless file, at which a wait that is called off points."""

LEADS = 1
"""The kind of slot of a term; others are complaints of a candidate."""
COMPLAINTS = {
    2: "a forked child passed for the leader",
    3: "a block raised something else than an error of the library",
}


def build(directory: Path) -> Path:
    """Compile the page's functions."""
    library = directory / "page.so"
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["gcc", *options, "-o", str(library), str(_SOURCE)], check=True)
    return library


class Slot(NamedTuple):
    """A term, as its leader marked it; moments are nanoseconds of CLOCK_MONOTONIC.

    Attributes:
        kind: `LEADS`, or a key of `COMPLAINTS`.
        who: the number of the candidate, of which there may be several processes one after another.
        pid: the leader's process.
        started: its start, in ticks since the boot; 0 if it had no descriptor left to read it by.
        term: the fencing token.
        inode: of the lock file when the term began; 0 if unknown.
        entered: when the term began.
        last: when the leader last said that it leads.
        left: when it said that it had stopped; 0 if it never did.
        stamps: how often it said that it leads.
    """

    kind: int
    who: int
    pid: int
    started: int
    term: int
    inode: int
    entered: int
    last: int
    left: int
    stamps: int


class Page:
    """A page that is mapped here and in other processes.

    Args:
        path: of its file, which is made if it is missing.
        library: what `build` has made.
    """

    def __init__(self, path: Path, library: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(fd, _SLOTS + CAPACITY * _SLOT)
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        # mmap keeps a descriptor of its own, which closerange in a candidate may close: it is not used.
        struct.pack_into("=Q", self._map, 8, CAPACITY)
        self._address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(self._map)))
        functions = ctypes.CDLL(str(library))
        functions.page_enter.restype = ctypes.c_int64
        functions.page_await.restype = ctypes.c_uint32
        functions.page_enter.argtypes = [ctypes.c_void_p, *[ctypes.c_uint64] * 4]
        functions.page_stamp.argtypes = functions.page_leave.argtypes = [
            ctypes.c_void_p,
            ctypes.c_int64,
        ]
        functions.page_await.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 3]
        functions.page_command.argtypes = [ctypes.c_void_p, ctypes.c_uint32, *[ctypes.c_uint64] * 2]
        functions.page_answer.argtypes = [ctypes.c_void_p, *[ctypes.c_uint32] * 2, ctypes.c_void_p]
        self._functions = functions

    def know_self(self) -> None:
        """Learn this process's start time now, while a descriptor is left."""
        self._functions.page_know_self()

    def enter(self, who: int, term: int, inode: int = 0, kind: int = LEADS) -> int:
        """Mark that a term begins; its slot."""
        index: int = self._functions.page_enter(self._address, kind, who, term, inode)
        return index

    def stamp(self, index: int) -> None:
        """Mark that the leader leads."""
        self._functions.page_stamp(self._address, index)

    def leave(self, index: int) -> None:
        """Mark that it has stopped."""
        self._functions.page_leave(self._address, index)

    def wait(self, who: int, seen: int, milliseconds: int) -> int:
        """Wait for a command; the number of the latest one."""
        number: int = self._functions.page_await(self._address, who, seen, milliseconds)
        return number

    def command(self, who: int, command: int, argument: int = 0) -> int:
        """Leave a command; its number."""
        self._functions.page_command(self._address, who, command, argument)
        return self.sequence(who)

    def answer(self, who: int, sequence: int, *answer: int) -> None:
        """Say that a command was carried out."""
        numbers = (ctypes.c_uint64 * 5)(*answer)
        self._functions.page_answer(self._address, who, sequence, numbers)

    def _box(self, who: int) -> tuple[int, ...]:
        return struct.unpack_from("=2I7Q", self._map, _HEADER + who * _BOX)

    def sequence(self, who: int) -> int:
        """The number of the latest command."""
        return self._box(who)[0]

    def order(self, who: int) -> tuple[int, int]:
        """The latest command and its argument."""
        box = self._box(who)
        return box[2], box[3]

    def answered(self, who: int) -> tuple[int, tuple[int, ...]]:
        """The number of the last command that was carried out, and the answer."""
        box = self._box(who)
        return box[1], box[4:]

    @property
    def used(self) -> int:
        """How many slots are taken."""
        used: int = struct.unpack_from("=Q", self._map)[0]
        return min(used, CAPACITY)

    def slot(self, index: int) -> Slot | None:
        """A slot, if what it says is complete."""
        committed, *fields = struct.unpack_from("=11Q", self._map, _SLOTS + index * _SLOT)
        return Slot(*fields) if committed else None

    def slots(self, first: int = 0) -> list[Slot]:
        """All complete slots from some index on, in the order in which they were taken."""
        return [slot for index in range(first, self.used) if (slot := self.slot(index)) is not None]
