"""An object store with conditional writes: an HTTP server with ETag, If-Match and If-None-Match."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that was killed does not read its answer."""


class ObjectStore:
    """Serves one object on the loopback, until it is left as a context.

    Attributes:
        content: the object; None before the first write.
        answers: the statuses of all writes, in their order.
        on_its_way: called with the body of a write before the store looks at the write.
    """

    def __init__(self) -> None:
        self.content: bytes | None = None
        self.answers: list[HTTPStatus] = []
        self.on_its_way: Callable[[bytes], object] = lambda _: None
        self._version = 0
        self._lock = threading.Lock()
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with store._lock:
                    content, tag = store.content, store.tag
                self.send_response(HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK)
                self.send_header("ETag", tag)
                self.end_headers()
                self.wfile.write(content or b"")

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                store.on_its_way(body)
                status = store.put(body, self.headers["If-Match"], self.headers["If-None-Match"])
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/reports/latest"

    @property
    def tag(self) -> str:
        """The ETag of the object as it is."""
        return f'"{self._version}"'

    def put(self, body: bytes, match: str | None, none_match: str | None) -> HTTPStatus:
        """Write, under the conditions of RFC 9110, section 13.1."""
        with self._lock:
            wanted = match is None or (self.content is not None and match == self.tag)
            free = none_match is None or self.content is None
            status = HTTPStatus.NO_CONTENT if wanted and free else HTTPStatus.PRECONDITION_FAILED
            if status is HTTPStatus.NO_CONTENT:
                self.content = body
                self._version += 1
            self.answers.append(status)
            return status

    def __enter__(self) -> ObjectStore:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
