"""One TCP connection whose steps never block: every wait goes through a `Waiting`.

The socket is the interpreter's own (`_socket`): gevent and eventlet replace those of the module
`socket` by green ones, and the threads of an election are native. The time of a request is
limited as a whole: with a limit for each read, a member that sends one byte at a time could hold a
renewal up without end.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.leased.waiting import Waiting

_MOST = 64 * 1024
"""Bytes taken at once."""


class Distrusted(OSError):
    """The other side's certificate cannot be verified."""


class Limit:
    """How long a request may take, and what waits meanwhile.

    Args:
        waiting: every wait goes through this object.
        until: CLOCK_MONOTONIC at which the request has taken too long.
    """

    def __init__(self, waiting: Waiting, until: float) -> None:
        self.waiting = waiting
        self.until = until

    def wait(self, fd: int, doing: str, *, writable: bool = False) -> None:
        """Wait until a descriptor is ready.

        Raises:
            TimeoutError: the request has taken too long.
            CalledOff: cancelled.
        """
        while not self.waiting.answers(fd, max(self.until - time.monotonic(), 0), writable=writable):
            if time.monotonic() >= self.until:
                raise TimeoutError(f"no answer in time ({doing})")


class Connection:
    """A connection to one member; the caller closes it, whatever is raised."""

    def __init__(self) -> None:
        self._socket: _socket.socket | None = None

    def open(self, family: int, place: tuple[object, ...], limit: Limit) -> None:
        """Connect to an address.

        Args:
            family: AF_INET or AF_INET6.
            place: the address, as the family has it.
            limit: the time that this may take.

        Raises:
            OSError: nobody accepts the connection there, or not in time.
        """
        self._socket = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        number = self._socket.connect_ex(place)
        if number == errno.EINPROGRESS:
            limit.wait(self._socket.fileno(), "connecting", writable=True)
            number = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    @property
    def _connected(self) -> _socket.socket:
        if self._socket is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._socket

    def fileno(self) -> int:
        """The descriptor of the socket."""
        return self._connected.fileno()

    def keep_alive(self, seconds: float) -> None:
        """Let the kernel end the connection if the other machine is silent for some time."""
        pause = max(1, int(seconds / 3))
        connected = self._connected
        connected.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        for option in (_socket.TCP_KEEPIDLE, _socket.TCP_KEEPINTVL):
            connected.setsockopt(_socket.IPPROTO_TCP, option, pause)
        connected.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_KEEPCNT, 2)

    def send(self, data: bytes, limit: Limit) -> None:
        """Send all the bytes."""
        while data:
            try:
                data = data[self._connected.send(data) :]
            except BlockingIOError:
                limit.wait(self.fileno(), "sending", writable=True)

    def take(self) -> bytes | None:
        """Bytes that have arrived, as they were sent; None if there are none, b"" at the end."""
        try:
            return self._connected.recv(_MOST)
        except BlockingIOError:
            return None

    def receive_ready(self) -> bytes | None:
        """Content that has arrived; None if there is none, b"" at the connection's end."""
        return self.take()

    def receive(self, limit: Limit) -> bytes:
        """Wait for content; b"" at the connection's end."""
        while (data := self.receive_ready()) is None:
            limit.wait(self.fileno(), "reading")
        return data

    def close(self) -> None:
        """Close the socket, in any state."""
        if self._socket is not None:
            self._socket.close()
