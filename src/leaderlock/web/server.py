"""The standard library's WSGI server, with a thread a request, for ``leaderlock serve``."""

from __future__ import annotations

import socket
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from leaderlock.web.over_wsgi import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.web.over_wsgi import Application

_MOST = 100
"""Connections at the same time; others are closed at once."""

_SILENCE = 20.0
"""Seconds that a client may take to send or take the next bytes."""


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

    def __init__(self, host: str, port: int, application: Application) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self._room = threading.BoundedSemaphore(_MOST)
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
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve it, in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away or fell silent."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = _SILENCE
    server_version, sys_version = "leaderlock", ""

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
