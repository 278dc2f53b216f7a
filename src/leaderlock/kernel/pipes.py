"""Pipes: look at the content before taking it, and wait for several descriptors, in native code.

Through ctypes: Python has no tee(2), and gevent replaces `select.poll` by a green one. Only code that
reads a pipe imports this module; writers do without ctypes, which costs 10 ms.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os

from leaderlock.errors import Unsupported
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.flock import install_handler
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import RLock, get_ident, start_thread_without_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_poll = _libc.poll
_poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
_SPLICE_F_NONBLOCK = 2
_POLLIN, _POLLOUT = 1, 4
_POLLNVAL = 0x20
_LONGEST = 2**31 - 1
"""Milliseconds: poll(2) takes an int. A longer wait ends early, after 24 days."""


class _PollFd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_ENTRIES = [_PollFd * count for count in range(3)]
"""Array types by length, made before a fork: a worker that made them would copy pages."""


class Front:
    """The front of a pipe: a reader can look at the bytes before it takes them; one reader at a time.

    After a read(2) of many small messages only this process has them, and SIGKILL would lose them all.
    tee(2) shows the bytes and leaves them in the pipe, so the reader can take each message at the last
    moment (`tests/test_inbox.py` shows how many messages a kill loses then).

    A look shows at least one atomic write: Linux puts such a write into one buffer of the pipe, and a
    look shows sixteen buffers, or two if the user has many pipes (pipe(7), pipe-user-pages-soft).

    Args:
        fileno: returns the descriptor to read from; called for each step.
    """

    def __init__(self, fileno: Callable[[], int]) -> None:
        if not hasattr(_libc, "tee"):
            raise Unsupported("reading messages one by one needs tee(2), which only Linux has")
        self._fileno = fileno
        self._reader, self._writer = Descriptor(), Descriptor()

    def look(self) -> bytes:
        """The first bytes in the pipe, which stay there; empty if the pipe is empty."""
        if not (self._reader.is_open() and self._writer.is_open()):  # or closed by other code
            self._open_pair()
        size = _libc.tee(self._fileno(), self._writer.fd, ctypes.c_size_t(1 << 30), _SPLICE_F_NONBLOCK)
        if size < 0:
            number = ctypes.get_errno()
            if number == errno.EAGAIN:  # the pipe is empty
                return b""
            raise OSError(number, f"tee: {os.strerror(number)}")
        return os.read(self._reader.fd, size) if size else b""

    def _open_pair(self) -> None:
        self.close()
        reader, writer = os.pipe()
        try:
            self._reader.open_by(os.dup, reader)
            self._writer.open_by(os.dup, writer)
        finally:
            os.close(reader)
            os.close(writer)

    def take(self, size: int) -> bytes:
        """Take so many bytes: those of the last look, unless another process reads the pipe too."""
        try:
            return os.read(self._fileno(), size)
        except BlockingIOError:  # another process has read the bytes
            return b""

    def close(self) -> None:
        """Close the descriptors that `look` uses; the pipe itself stays open."""
        self._reader.close_if_open()
        self._writer.close_if_open()


class Bell:
    """Wakes one thread that waits for a descriptor; after a ring, no wait blocks any more.

    The bell is an eventfd. If other code has closed the eventfd, a signal with an empty handler wakes
    the thread: its poll(2) still waits for the files that the numbers led to when the call began.
    """

    def __init__(self) -> None:
        self._descriptor = Descriptor()
        self._mutex = RLock()
        self._thread = 0
        self._has_rung = False
        self._descriptor.open_by(os.eventfd, 0)

    def is_open(self) -> bool:
        """Whether the bell can wake a wait that begins now."""
        return self._descriptor.is_open()

    def wait_beside(self, fd: int) -> None:
        """Wait until `fd` is readable or the bell rings; may end without either."""
        self._thread = get_ident()
        try:
            if self._may_wait():
                wait_readable(fd, self._descriptor.fd, go_on=self._may_wait)
        except OSError as error:
            if error.errno != errno.EBADF:  # other code closed one: the caller checks its descriptor
                raise
        finally:
            with self._mutex:  # so that no signal reaches a thread that has left
                self._thread = 0

    def _may_wait(self) -> bool:
        return not self._has_rung and self.is_open()

    def ring(self) -> None:
        """End the current wait, and every later one at once."""
        self._has_rung = True
        if self.is_open():
            os.eventfd_write(self._descriptor.fd, 1)
            return
        with self._mutex:
            if self._thread and self._thread != get_ident():
                signal.pthread_kill(self._thread, install_handler())

    def ring_when(self, event: threading.Event) -> None:
        """Ring when the event is set: a native thread waits for the event until then."""
        start_thread_without_signals(self._await, event)

    def _await(self, event: threading.Event) -> None:
        event.wait()
        self.ring()

    def __del__(self) -> None:
        self._descriptor.close_if_open()


def wait_readable(
    *fds: int, seconds: float | None = None, go_on: Callable[[], bool] = lambda: True
) -> bool:
    """Wait until one of the descriptors is readable, or for some seconds.

    A wait with seconds ends at most 1 ms late, and early after a signal or 24 days (`_LONGEST`).
    There are no other wakeups. Signal handlers run during the wait, and end it if they raise.

    Args:
        go_on: called after a signal in a wait without seconds: whether to go on waiting.

    Returns:
        Whether one of the descriptors is readable.
    """
    return _wait(_POLLIN, fds, seconds, go_on)


def wait_writable(fd: int, *others: int, seconds: float) -> bool:
    """Wait until `fd` is writable, one of the others is readable, or for some seconds.

    See `wait_readable`.
    """
    return _wait(_POLLOUT, (fd, *others), seconds, lambda: True)


def _wait(events: int, fds: tuple[int, ...], seconds: float | None, go_on: Callable[[], bool]) -> bool:
    """Wait until the first descriptor has one of the events, or one of the others is readable."""
    first, *others = fds
    entries = _ENTRIES[len(fds)](_PollFd(first, events, 0), *[_PollFd(fd, _POLLIN, 0) for fd in others])
    limit = -1 if seconds is None else math.ceil(min(seconds * 1000, _LONGEST))
    while (ready := _poll(entries, len(fds), limit)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:  # a signal: its handler has run by now
            raise OSError(number, f"poll: {os.strerror(number)}")
        if seconds is not None or not go_on():
            return False
    if any(entry.revents & _POLLNVAL for entry in entries):
        raise OSError(errno.EBADF, "poll: a descriptor was closed by other code of this process")
    return bool(ready)
