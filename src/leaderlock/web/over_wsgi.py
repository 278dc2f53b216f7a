"""The status page for WSGI servers."""

from __future__ import annotations

import http
import os
import select
import socket
import time

from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.web.feed import HEARTBEAT, LONGEST, TooManyStreamsError
from leaderlock.web.site import HEADERS, STREAMS, Request, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from leaderlock.web.feed import Feed
    from leaderlock.web.site import Paths, Response

    Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

SOCKET = "leaderlock.socket"
"""The key under which our own server passes the connection, like gunicorn's ``gunicorn.socket``."""

_FEW = 5000
"""Milliseconds until a browser asks again if it cannot have a stream."""


@names_near_keyword
def wsgi(
    paths: Paths = None,
    health: str | os.PathLike[str] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    streams: int = STREAMS,
) -> Application:
    """The status page as a WSGI application; mount it at any path of any server.

    An open page occupies a thread of the server with its event stream. So if the processes of a server
    serve one request at a time (``wsgi.multithread`` is false), there are no streams: the page then
    asks every 5 s.

    Args:
        paths: the lock files, and the URLs of elections in engines; None means every lock on the
            machine that this process can see.
        health: the file that ``leaderlock.health.sinks.file`` writes.
        hosts: the host names that are answered, without ports. None means any name; but if the server
            listens on the loopback interface, only the names of that interface.
        streams: the maximum number of open event streams in a process.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: there is no engine for a URL, or its client is not installed.
    """
    site = Site(paths, health, hosts, streams)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        response = site.respond(_request(environ))
        wants_body = environ["REQUEST_METHOD"] != "HEAD"
        if response.is_stream and wants_body:
            return _stream(site, response, environ, start_response)
        _start(response, start_response)
        return [response.body] if wants_body and response.body else []

    return application


def _request(environ: dict[str, Any]) -> Request:
    # The bytes of a path are decoded as Latin-1 (PEP 3333).
    path, prefix = (
        environ.get(key, "").encode("latin-1").decode("utf-8", "replace")
        for key in ("PATH_INFO", "SCRIPT_NAME")
    )
    host, server = environ.get("HTTP_HOST", ""), environ.get("SERVER_NAME", "")
    # Some servers leave the path empty at their root.
    return Request(environ["REQUEST_METHOD"], path or ("" if prefix else "/"), prefix, host, server)


def _start(response: Response, start_response: Callable[..., Any]) -> None:
    start_response(f"{response.status} {http.HTTPStatus(response.status).phrase}", response.headers)


def _stream(
    site: Site, response: Response, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterable[bytes]:
    if not environ.get("wsgi.multithread"):
        _start(response, start_response)
        # The browser takes each answer for a change: it updates the page, and asks again.
        return [f"retry: {_FEW}\nevent: status\ndata: {{}}\n\n".encode()]
    try:
        stream = _Stream(site.feed, response.body, _socket_of(environ))
    except TooManyStreamsError as error:
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "10"), *HEADERS]
        start_response("503 Service Unavailable", headers)
        return [f"{error}\n".encode()]
    _start(response, start_response)
    return stream


def _socket_of(environ: dict[str, Any]) -> socket.socket | None:
    client: socket.socket | None = environ.get(SOCKET) or environ.get("gunicorn.socket")
    return client


class _Stream:
    """The events, one piece after another; ends when the client goes, and after `LONGEST`."""

    def __init__(self, feed: Feed, first: bytes, client: socket.socket | None) -> None:
        self._feed = feed
        self._news = Descriptor()
        self._news.open_by(os.eventfd, 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._news.fd, select.POLLIN)
        self._client = client
        if client is not None:
            # A closed connection is readable, too; gevent's poll(2) reports nothing more specific.
            self._poll.register(client, select.POLLRDHUP | select.POLLIN)
        try:
            feed.join(self._wake)
        except BaseException:
            self._news.close_if_open()
            raise
        self._pieces = self._made(first)

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def _made(self, first: bytes) -> Iterator[bytes]:
        yield first
        number, until = 0, time.monotonic() + LONGEST
        while (now := time.monotonic()) < until:
            number, message = self._feed.after(number)
            if message:
                yield message
                continue
            ready = dict(self._poll.poll(min(HEARTBEAT, until - now) * 1000))
            if self._client is not None and self._client.fileno() in ready:
                if self._has_gone(self._client, ready[self._client.fileno()]):
                    return
                continue
            if not self._news.is_open():  # other code closed the descriptor; the browser asks again
                return
            if self._news.fd in ready:
                os.eventfd_read(self._news.fd)
            elif time.monotonic() < until:
                yield b": still here\n\n"

    def _has_gone(self, client: socket.socket, events: int) -> bool:
        if events & ~select.POLLIN:
            return True
        try:
            if not client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return True
        except (ValueError, OSError):  # TLS has no peek; connection reset
            pass
        self._poll.unregister(client)  # the client sent more data, which is never read
        return False

    def _wake(self) -> None:
        if self._news.is_open():
            os.eventfd_write(self._news.fd, 1)

    def close(self) -> None:
        """Leave the feed. The server calls this at the end of every response, after any error too."""
        if self._news.fd >= 0:
            self._feed.leave(self._wake)
            self._pieces.close()  # type: ignore[attr-defined]
            self._news.close_if_open()
