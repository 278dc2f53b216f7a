"""The standard library's WSGI server, with a thread for each request, for ``leaderlock serve``."""

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
"""The maximum number of connections, including event streams."""

_SILENCE = 20.0
"""Seconds that a client may take to receive each part of an answer."""


class _Clients:
    """The open connections. Slow clients make room for new ones, so that no client keeps others out.

    A client with a complete request is answered at once, or has an event stream, of which the
    application allows only a few. If all places are taken, the client that has been sending its request
    for the longest time is closed; if there is none, the client that has been receiving for the longest
    time.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._asking: dict[socket.socket, None] = {}  # the oldest first
        self._taking: dict[socket.socket, None] = {}
        self._streams: dict[socket.socket, None] = {}

    def admit(self, client: socket.socket) -> bool:
        """Admit a client, and close a slow one if necessary; False if there is no room."""
        with self._mutex:
            if len(self._asking) + len(self._taking) + len(self._streams) >= _MOST:
                slow = self._asking or self._taking
                if not slow:
                    return False
                slowest = next(iter(slow))
                del slow[slowest]
                with contextlib.suppress(OSError):  # the client is already gone
                    slowest.shutdown(socket.SHUT_RDWR)  # ends the wait of its thread
            self._asking[client] = None
            return True

    def has_asked(self, client: socket.socket, *, for_stream: bool) -> None:
        """Note that the client's request is complete."""
        with self._mutex:
            if client in self._asking:  # otherwise `admit` has just closed it
                del self._asking[client]
                (self._streams if for_stream else self._taking)[client] = None

    def leave(self, client: socket.socket) -> None:
        """Note that the client's connection is closed."""
        with self._mutex:
            for group in (self._asking, self._taking, self._streams):
                group.pop(client, None)


class _Request(io.RawIOBase):
    """A client's request, read until a deadline for the whole of it: slow bytes do not extend it."""

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
        host: an address or a host name; an IPv6 address without brackets.
        port: 0 takes a free port; `server_port` has its number.
        application: the application to serve.

    Raises:
        OSError: the address is in use, or does not belong to this machine.
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
        """Bind, without a DNS lookup of the address's name."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve the request in a thread, if there is room."""
        if not self.clients.admit(request):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection; forget it first, since its descriptor's number may be reused."""
        self.clients.leave(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing about clients that left or fell silent."""
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
        """Log nothing: a view of the status page is not worth a line."""

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
        """Log no error for a client that fell silent (TimeoutError) or left."""
        if not issubclass(exc_info[0], OSError):
            SimpleHandler.log_exception(self, exc_info)
