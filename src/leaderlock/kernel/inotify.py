"""Events of files and directories, from inotify(7). Linux only."""

from __future__ import annotations

import ctypes
import os
import struct

MODIFY = 0x2
OPEN = 0x20
CLOSE = 0x8 | 0x10
ATTRIB = 0x4
GONE = 0x400 | 0x800  # deleted, or moved away
ENTRIES = 0x40 | 0x80 | 0x100 | 0x200  # of a directory: moved out and in, made, deleted

_HEADER = struct.Struct("iIII")
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """One queue of events for any number of files; `fileno` is readable when there are some."""

    def __init__(self) -> None:
        self._fd = _checked(_libc.inotify_init1(_NONBLOCK_CLOEXEC), "inotify")

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._fd

    def add(self, path: str, mask: int) -> int:
        """Watch a path; the number that its events come with.

        Raises:
            FileNotFoundError, PermissionError: there is no such file, or we may not read it.
            OSError: ENOSPC, there are too many watches (fs.inotify.max_user_watches).
        """
        number = _libc.inotify_add_watch(self._fd, os.fsencode(path), ctypes.c_uint32(mask))
        return _checked(number, path)

    def remove(self, number: int) -> None:
        """Watch it no longer; nothing, if the kernel has stopped that itself (the file has gone)."""
        _libc.inotify_rm_watch(self._fd, number)

    def drain(self) -> set[tuple[int, bytes]]:
        """Take all events that are there: the number of each, and the entry's name in a directory.

        The number is -1 where events were lost.
        """
        found = set()
        while True:
            try:
                events = os.read(self._fd, 65536)
            except BlockingIOError:
                return found
            position = 0
            while position < len(events):
                number, _, _, length = _HEADER.unpack_from(events, position)
                position += _HEADER.size + length
                found.add((number, events[position - length : position].rstrip(b"\0")))

    def close(self) -> None:
        """End all watches."""
        os.close(self._fd)


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
