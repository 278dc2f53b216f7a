"""Pipes: looking at what waits in one before taking it, and waiting for several at once, natively.

Through ctypes: Python has no tee(2), and its `select.poll` is a green one where gevent has patched. It
is imported by who reads; who only writes to a pipe has no use for ctypes, which costs 10 ms.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os

from leaderlock.errors import Unsupported
from leaderlock.kernel.threads import start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading

_libc = ctypes.CDLL(None, use_errno=True)
_poll = _libc.poll
_poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
_SPLICE_F_NONBLOCK = 2
_POLLIN = 1
_POLLNVAL = 0x20
_LONGEST = 2**31 - 1
"""Milliseconds: poll(2) takes an int. A longer wait ends early, after 24 days."""


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_ENTRIES = [_PollFd * count for count in range(3)]
"""Types of arrays, by length: made here, and so before a fork, since each worker would copy pages."""


class Front:
    """The front of a pipe, which can be looked at before it is taken; for one reader at a time.

    A read(2) of many small messages would hold them in this process alone, where SIGKILL takes them.
    tee(2) shows the same bytes and leaves them in the pipe, so each message can be taken by itself, at
    the last moment (`tests/test_inbox.py` shows what a kill costs then).

    A look shows at least what one atomic write has brought: Linux puts that into one buffer of the
    pipe, and a look shows sixteen, or two if the user has many pipes (pipe(7), pipe-user-pages-soft).
    """

    def __init__(self, fd: int) -> None:
        if not hasattr(_libc, "tee"):
            raise Unsupported("reading messages one by one needs tee(2), which only Linux has")
        self._fd = fd
        self._reader, self._writer = os.pipe()

    def look(self) -> bytes:
        """What waits first, or nothing; it stays where it is."""
        size = _libc.tee(self._fd, self._writer, ctypes.c_size_t(1 << 30), _SPLICE_F_NONBLOCK)
        if size < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:  # the pipe is empty
                return b""
            raise OSError(number, f"tee: {os.strerror(number)}")
        return os.read(self._reader, size) if size else b""

    def take(self, size: int) -> bytes:
        """Take so many bytes: those of the last look, unless somebody else reads, too."""
        try:
            return os.read(self._fd, size)
        except BlockingIOError:  # somebody does
            return b""

    def close(self) -> None:
        """Close what is needed for looking; the pipe stays open."""
        os.close(self._reader)
        os.close(self._writer)


class Bell:
    """What a thread that waits for descriptors can be woken by: one that becomes readable for good."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.fd, self._writer = os.pipe()

    def ring(self) -> None:
        """Make it readable."""
        os.write(self._writer, b"!")

    def ring_when(self, event: threading.Event) -> None:
        """Ring when the event is set: a native thread is parked there until then."""
        start_thread_without_signals(self._await, event)

    def _await(self, event: threading.Event) -> None:
        event.wait()
        self.ring()

    def __del__(self) -> None:
        if self._pid == os.getpid():  # in a forked child the numbers may be somebody else's by now
            os.close(self.fd)
            os.close(self._writer)


def wait_readable(*fds: int, seconds: float | None = None) -> bool:
    """Wait until there is something to read from one of the descriptors, or for some seconds.

    The seconds end a millisecond late at most, or early: by a signal, or as they are too many. No
    wakeups else. Signal handlers run meanwhile, and end the wait if they raise.

    Returns:
        Whether there is something to read.
    """
    entries = _ENTRIES[len(fds)](*[_PollFd(fd, _POLLIN, 0) for fd in fds])
    limit = -1 if seconds is None else math.ceil(min(seconds * 1000, _LONGEST))
    while (ready := _poll(entries, len(fds), limit)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:  # a signal: its handler has run by now
            raise OSError(number, f"poll: {os.strerror(number)}")
        if seconds is not None:
            return False
    if any(entry.revents & _POLLNVAL for entry in entries):
        raise OSError(errno.EBADF, "poll: a descriptor was closed by other code of this process")
    return bool(ready)
