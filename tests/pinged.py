"""A real HTTP server that keeps what it is asked."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """Answers with a status that can be set, and not before `answers` is set.

    Attributes:
        got: method, path, headers and body of each request, in the order of their arrival.
        without_post: whether it knows only GET.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.without_post = False
        self.answers = threading.Event()
        self.answers.set()
        self.got: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.got]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.got.append((self.command, self.path, dict(self.headers.items()), body))
        self.server.answers.wait()
        refused = self.server.without_post and self.command == "POST"
        with contextlib.suppress(ConnectionError):  # who asked may be gone
            self.send_response(405 if refused else self.server.status)
            self.send_header("Location", f"{self.server.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_GET = do_POST

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def pinged_server() -> Iterator[Server]:
    """A server that runs for the time of a block."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()
