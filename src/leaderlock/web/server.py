"""The standard library's WSGI server, with a thread a request, for ``leaderlock serve``."""

from __future__ import annotations

import contextlib
import io
import socket
import sys
import threading
import time
from socketserver import ThreadingMixIn
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from leaderlock.web.over_wsgi import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.web.over_wsgi import Application

_MOST = 100
"""Connections at the same time, event streams included."""

_SILENCE = 20.0
"""Seconds that a client may take to take what it is sent at once."""


class _Clients:
    """The open connections: who is slow makes room for who comes, so that nobody keeps others out.

    A client whose request is whole is served in an instant, or is a stream, of which the application
    allows a few. So where there is no room, the connection is closed that has been at its request for
    the longest time; if there is none, the one that has been taking its answer for the longest time.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._asking: dict[socket.socket, None] = {}  # the oldest first
        self._taking: dict[socket.socket, None] = {}
        self._streams: dict[socket.socket, None] = {}

    def admit(self, client: socket.socket) -> bool:
        """Let it in, in a slower one's place if need be; False if there is no room."""
        with self._mutex:
            if len(self._asking) + len(self._taking) + len(self._streams) >= _MOST:
                slow = self._asking or self._taking
                if not slow:
                    return False
                slowest = next(iter(slow))
                del slow[slowest]
                with contextlib.suppress(OSError):  # it has gone by itself
                    slowest.shutdown(socket.SHUT_RDWR)  # which ends its thread's wait
            self._asking[client] = None
            return True

    def has_asked(self, client: socket.socket, *, for_stream: bool) -> None:
        """Its request is whole."""
        with self._mutex:
            if client in self._asking:  # it was not closed just now
                del self._asking[client]
                (self._streams if for_stream else self._taking)[client] = None

    def leave(self, client: socket.socket) -> None:
        """It is closed."""
        with self._mutex:
            for group in (self._asking, self._taking, self._streams):
                group.pop(client, None)


class _Request(io.RawIOBase):
    """What a client sends, up to a deadline for all of it: a byte now and then does not extend it."""

    def __init__(self, client: socket.socket, seconds: float) -> None:
        self._client = client
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._client.settimeout(left)
        return self._client.recv_into(buffer)


class Server(ThreadingMixIn, WSGIServer):
    """Serves an application until `shutdown`.

    Args:
        host: the address, or a name of it; an IPv6 address without brackets.
        port: 0 takes a free one; `server_port` tells which.
        application: what to serve.

    Raises:
        OSError: the address is in use, or not this machine's.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    request_seconds = 10.0
    """Seconds that a client may take to send its request."""

    def __init__(self, host: str, port: int, application: Application) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self.clients = _Clients()
        super().__init__((str(address[0]), port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind, without asking the DNS for the address's name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve it in a thread, if there is room."""
        if not self.clients.admit(request):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close it, once nobody else would do so: its descriptor's number may be another's then."""
        self.clients.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away or fell silent."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE
    server_version, sys_version = "leaderlock", ""

    def setup(self) -> None:
        super().setup()
        seconds = self.server.request_seconds  # type: ignore[attr-defined]
        self.rfile = io.BufferedReader(_Request(self.connection, seconds))

    def get_environ(self) -> dict[str, Any]:
        return {**super().get_environ(), SOCKET: self.connection}

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: who looks at a status page is not worth a line."""

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request():
            self.connection.settimeout(_SILENCE)
            for_stream = self.path.partition("?")[0].endswith("/events")
            self.server.clients.has_asked(self.connection, for_stream=for_stream)  # type: ignore[attr-defined]
            handler = _Answer(
                self.rfile,
                self.wfile,  # type: ignore[arg-type]
                self.get_stderr(),
                self.get_environ(),
                multithread=True,
            )
            handler.request_handler = self  # type: ignore[attr-defined]
            handler.run(self.server.get_app())  # type: ignore[attr-defined]


class _Answer(ServerHandler):
    server_software = "leaderlock"

    def log_exception(self, exc_info: Any) -> None:
        """Not that a client fell silent (TimeoutError), or went away."""
        if not issubclass(exc_info[0], OSError):
            SimpleHandler.log_exception(self, exc_info)
