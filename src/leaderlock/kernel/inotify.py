"""Events of files and directories, from inotify(7). Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct

from leaderlock.kernel.descriptors import FOR_WATCHES, Descriptor
from leaderlock.kernel.pipes import wait_readable
from leaderlock.kernel.threads import RLock

MODIFY = 0x2
OPEN = 0x20
CLOSE_WRITE = 0x8
CLOSE = CLOSE_WRITE | 0x10
ATTRIB = 0x4  # also a change of the link count: that of an open file falls when the file is deleted
GONE = 0x400 | 0x800  # deleted, or moved away
ENTRIES = 0x40 | 0x80 | 0x100 | 0x200  # of a directory: moved out and in, made, deleted

_HEADER = struct.Struct("iIII")

try:
    # A `PyDLL` keeps the GIL during the calls, which do not block (see kernel/timer.py).
    _calls = ctypes.PyDLL(None, use_errno=True)
    _init = _calls.inotify_init1
    _add = _calls.inotify_add_watch
    _remove = _calls.inotify_rm_watch
except AttributeError as error:
    raise ImportError("this system has no inotify") from error
_add.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)


class Inotify:
    """One queue of events for any number of files; `fileno` is readable when the queue has events.

    Forked children close the queue's descriptor.
    """

    def __init__(self, *, opened: bool = True) -> None:
        self._descriptor = Descriptor()
        if opened:
            try:
                self.open()
            except BaseException:
                self.close()
                raise

    def open(self) -> None:
        """Open a queue made with `opened=False`; the caller must call `close` even if this raises."""
        self._descriptor.open_by(_init, os.O_CLOEXEC | os.O_NONBLOCK)
        _checked(self._descriptor.fd, "inotify")
        self._descriptor.move_up(FOR_WATCHES)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._descriptor.fd

    def is_open(self) -> bool:
        """Whether the descriptor is open: no other code has closed it."""
        return self._descriptor.is_open()

    def add(self, path: str, mask: int) -> int:
        """Watch a path; return the watch's number, which its events carry.

        Raises:
            FileNotFoundError, PermissionError: the file does not exist, or this user may not read it.
            OSError: ENOSPC, there are too many watches (fs.inotify.max_user_watches).
        """
        return _checked(_add(self.fileno(), os.fsencode(path), mask), path)

    def remove(self, number: int) -> None:
        """End the watch of this number; does nothing if the kernel ended it (the file is gone)."""
        _remove(self.fileno(), number)

    def read(self) -> list[tuple[int, int, bytes]]:
        """Take some events: the watch's number, the mask, and the entry's name in a directory.

        The number is -1 where events were lost.

        Raises:
            BlockingIOError: there are no events; this method never blocks.
        """
        events = os.read(self.fileno(), 65536)
        found = []
        position = 0
        while position < len(events):
            number, mask, _, length = _HEADER.unpack_from(events, position)
            position += _HEADER.size + length
            found.append((number, mask, events[position - length : position].rstrip(b"\0")))
        return found

    def drain(self) -> set[tuple[int, bytes]]:
        """Take all waiting events: the watch's number of each, and the entry's name in a directory."""
        found: set[tuple[int, bytes]] = set()
        while True:
            try:
                found.update((number, name) for number, _, name in self.read())
            except BlockingIOError:
                return found

    def close(self) -> None:
        """End all watches."""
        self._descriptor.close_if_open()


class FileWatch:
    """Reports that an open file was deleted, renamed or written; follows the file, not its path.

    A directory that is renamed is no event of the files in it: `watch_directories` is for that.

    An event also comes when the last descriptor of a writable open file description of the file is
    closed: perhaps the caller's own, by other code of the process. That event wakes a thread in poll(2)
    even if the same code has closed this watch's descriptor first, as the poll call still holds the
    watch open (`tests/test_closed.py`).

    Raises:
        OSError: the system refuses the watch (the user's limit of instances, no /proc).
    """

    def __init__(self, fd: int | None = None) -> None:
        self._inotify = Inotify(opened=False)
        self._mutex = RLock()
        if fd is not None:
            try:
                self.open(fd)
            except BaseException:
                self.close()
                raise

    def open(self, fd: int) -> None:
        """Begin a watch made without a file; the caller must call `close` in the end."""
        self._inotify.open()
        self._inotify.add(f"/proc/self/fd/{fd}", ATTRIB | GONE | CLOSE_WRITE)

    def watch_directories(self, path: str) -> None:
        """Report also when one of the directories in a file's path is renamed or removed.

        One that the kernel does not watch is left out (EACCES: this user may not read it; ENOSPC: the
        user's limit of watches).
        """
        directory = os.path.dirname(path)
        while len(directory) > 1:
            with contextlib.suppress(OSError):
                self._inotify.add(directory, GONE)
            directory = os.path.dirname(directory)

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._inotify.fileno()

    def is_open(self) -> bool:
        """Whether the descriptor is open: no other code has closed it."""
        return self._inotify.is_open()

    def has_news(self) -> bool:
        """Whether the file may have changed since the last call, by any thread.

        This reads only if an event waits: eventlet's patched read would wait in its hub for one.

        Raises:
            OSError: EBADF, other code has closed the descriptor.
        """
        with self._mutex:
            if not self.is_open():
                raise OSError(errno.EBADF, "other code has closed the watch")
            if not wait_readable(self.fileno(), seconds=0):
                return False
            self._inotify.read()
            return True

    def close(self) -> None:
        """Close the descriptor."""
        self._inotify.close()


def _checked(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
