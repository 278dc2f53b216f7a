"""The side of kazoo that meets the system: its threads, its sockets, and the times of its requests."""

from __future__ import annotations

import atexit
import contextlib
import encodings.idna  # noqa: F401  (looking up a host name needs it, maybe after an upgrade on disk)
import errno
import socket
import ssl
import struct
import time
from collections import deque

from kazoo.handlers.threading import SequentialThreadingHandler

from leaderlock.errors import Unsupported
from leaderlock.kernel.threads import threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from leaderlock.engines.address import Address

_ANSWER = struct.Struct(">iii")

_REQUESTS = 64
"""Number of requests whose times are kept: more than a leader sends in a tick."""


def require_native_threads(address: Address) -> None:
    """Refuse where kazoo's threads would be green: a busy hub would let the lease end.

    Raises:
        Unsupported: gevent or eventlet has patched the threads of this process.
    """
    if threads_are_green():
        raise Unsupported(
            f"{address.shown}: gevent or eventlet has patched the threads that ZooKeeper's client "
            f"kazoo needs: elect a process of its own, with `leaderlock run --lock URL -- COMMAND`"
        )


class Wire(socket.socket):
    """A connection to a server, which notes the times of our requests, and the session's timeout.

    Attributes:
        opened: CLOCK_MONOTONIC when the first request, which opens the session, was sent; 0 before.
        sends: the same of the latest requests.
    """

    def begin(self, where: str) -> None:
        """Begin the notes, before any request.

        Args:
            where: the server's address.
        """
        self.opened = 0.0
        self.sends: deque[float] = deque(maxlen=_REQUESTS)
        self._where = where
        self._begin = b""
        self._is_ended = False

    def send(self, data: Any, flags: int = 0, /) -> int:
        """See `socket.socket.send`."""
        self.note_request()
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """See `socket.socket.recv`."""
        return self.note_answer(super().recv(size, flags))

    def note_request(self) -> None:
        """Note the time: a request is about to be sent."""
        now = time.monotonic()
        self.opened = self.opened or now
        self.sends.append(now)

    def note_answer(self, data: bytes) -> bytes:
        """Note what has come, and return it."""
        if len(self._begin) < _ANSWER.size:
            self._begin += data[: _ANSWER.size]
        self._is_ended = self._is_ended or not data
        return data

    @property
    def granted(self) -> float:
        """The session's timeout in seconds; 0 if no session was granted on this connection.

        The first answer is a length and a ConnectResponse, which begins with the protocol's version and
        the timeout (zookeeper.jute of ZooKeeper 3.8). Kazoo keeps the timeout to itself.
        """
        if len(self._begin) < _ANSWER.size:
            return 0.0
        length, version, milliseconds = _ANSWER.unpack_from(self._begin)
        is_answer = length < 256 and version == 0
        return milliseconds / 1000 if is_answer else 0.0

    @property
    def trouble(self) -> str:
        """The reason why this connection does not serve."""
        if self.granted:
            return f"{self._where}: the connection has ended"
        if self._is_ended or self._begin:
            return (
                f"{self._where}: the server grants no session: it is no ZooKeeper, has no quorum, or "
                f"allows no more connections (maxClientCnxns)"
            )
        return f"{self._where}: the server accepts the connection, and does not answer"

    def break_off(self) -> None:
        """End the connection at once, from any thread: kazoo's thread sees its end."""
        with contextlib.suppress(OSError):  # ENOTCONN, EBADF: it has ended
            # Of TLS, too, the socket alone: kazoo's thread uses the encryption.
            socket.socket.shutdown(self, socket.SHUT_RDWR)


class TlsWire(ssl.SSLSocket, Wire):
    """A `Wire` with TLS; made by an `ssl.SSLContext`."""

    def send(self, data: Any, flags: int = 0, /) -> int:
        """See `Wire.send`."""
        self.note_request()
        return super().send(data, flags)

    def recv(self, size: int = 1024, flags: int = 0, /) -> bytes:
        """See `Wire.recv`."""
        return self.note_answer(super().recv(size, flags))


class Handler(SequentialThreadingHandler):  # type: ignore[misc]
    """Makes kazoo's connections, within bounds of time, and ends them without ending the session.

    Kazoo lets a server take the whole session's timeout to accept a connection, and to answer the first
    request. A leader must find another server sooner.

    Args:
        patience: seconds for each of these steps.
        tls: the certificates; None without TLS.

    Attributes:
        wire: the latest connection.
    """

    def __init__(self, patience: float, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._tls = tls
        self.wire: Wire | None = None
        self._failure = ""
        self._patience = patience
        self._is_closed = False

    def start(self) -> None:
        """Start the threads; without kazoo's function at exit, which could block a forked child."""
        super().start()
        atexit.unregister(self.stop)

    def create_connection(self, address: tuple[str, int], **options: Any) -> Wire:
        """Connect to a server; called by kazoo's thread."""
        if self._is_closed:
            raise OSError(errno.ECANCELED, "the client is closed")
        where = f"{address[0]}:{address[1]}"
        try:
            connected = super().create_connection(address, **{**options, "timeout": self._patience})
            wire = self._wire(connected, str(options.get("hostname") or address[0]))
        except OSError as error:  # with TLS, also a certificate that is not trusted
            self._failure = f"{where}: {error}"
            raise
        self._failure = ""
        wire.begin(where)
        self.wire = wire
        if self._is_closed:  # `close` may not have seen this connection
            self.wire.break_off()
        return self.wire

    def _wire(self, connected: socket.socket, host: str) -> Wire:
        if self._tls is None:
            return Wire(fileno=connected.detach())
        try:
            wire = self._tls.wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise
        assert isinstance(wire, TlsWire)
        return wire

    def select(
        self, readers: Sequence[Any], writers: Sequence[Any], others: Sequence[Any], timeout: Any = None
    ) -> Any:
        """Wait for sockets; called by kazoo's thread, for one socket while it awaits an answer."""
        if len(readers) + len(writers) == 1:
            timeout = self._patience
        # What OpenSSL has decrypted already makes no socket readable.
        if waiting := [each for each in readers if isinstance(each, TlsWire) and each.pending()]:
            return waiting, [], []
        return super().select(readers, writers, others, timeout)

    @property
    def trouble(self) -> str:
        """The reason why no server serves, as far as the last try shows."""
        if self._failure:
            return self._failure
        if self.wire is None:
            return "no server was found under the names in the URL"
        return self.wire.trouble

    def reconnect(self) -> None:
        """Leave a server that does not answer; kazoo's thread connects to the next one."""
        if self.wire is not None:
            self.wire.break_off()

    def close(self) -> None:
        """End the connection, and make no other one."""
        self._is_closed = True
        self.reconnect()
