"""The answer to each request, for WSGI and ASGI alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from leaderlock.engines.urls import is_url
from leaderlock.errors import Unsupported
from leaderlock.history.drawing import STYLE
from leaderlock.kernel.arguments import number, several
from leaderlock.web.facts import Facts, absolute, history_or_why_not
from leaderlock.web.feed import RETRY, Feed
from leaderlock.web.hosts import is_loopback, name_in
from leaderlock.web.metrics import import_for_health, metrics
from leaderlock.web.page import page
from leaderlock.wording import json_text, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from leaderlock.status.elections import Elections

    Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None

STREAMS = 32
"""The maximum number of open event streams in a process."""

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]

_TEXT = "text/plain; charset=utf-8"
_FILES = Path(__file__).parent / "static"
# Read now: during the run the package may be replaced on disk, and rights may be dropped. The style
# of the drawing is here too, since the page's policy allows styles only from a file.
_STATIC = {
    "/style.css": (
        "text/css; charset=utf-8",
        (_FILES / "style.css").read_bytes() + STYLE.encode(),
    ),
    "/page.js": ("text/javascript; charset=utf-8", (_FILES / "page.js").read_bytes()),
    "/icon.svg": ("image/svg+xml", (_FILES / "icon.svg").read_bytes()),
}


class Request(NamedTuple):
    """The parts of a request that matter here.

    Attributes:
        method: for example ``GET``.
        path: the path below the site's mount point; begins with a slash, or is empty.
        prefix: the mount point.
        host: the Host header.
        server: the address or name that the server listens on; empty for a Unix socket.
    """

    method: str
    path: str
    prefix: str
    host: str
    server: str


class Response(NamedTuple):
    """An answer. If `is_stream`, events follow, and the body is only the beginning of the stream."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_stream: bool = False


class Site:
    """The status page of some locks.

    Args:
        paths: lock files and URLs of elections; None means every visible lock on the machine.
        health: the file that ``leaderlock.health.sinks.file`` writes, or None.
        hosts: the host names that browsers may use. None means any name; but if the server listens on a
            loopback address, only the names of that interface. Otherwise any web page, opened in a
            local browser, could read this one by a name that points to this address (DNS rebinding).
        streams: the maximum number of open event streams in a process.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: there is no engine for a URL, or its client is not installed.
    """

    def __init__(
        self,
        paths: Paths = None,
        health: str | os.PathLike[str] | None = None,
        hosts: Iterable[str] | None = None,
        streams: int = STREAMS,
    ) -> None:
        if number("streams", streams, "a number") < 0:
            raise ValueError(f"streams must not be negative, but is {streams}")
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        chosen = list(paths or ())
        self._paths = [absolute(path) for path in chosen if not is_url(path)]
        self._elections = _elections([str(url) for url in chosen if is_url(url)])
        self._health = None if health is None else absolute(health)
        if health is not None:
            import_for_health()
        self._hosts = (
            None if hosts is None else {name.lower() for name in several("hosts", hosts, "host names")}
        )
        self.feed = Feed(self._paths, self._elections, self._health, streams)

    def respond(self, request: Request) -> Response:
        """Answer a request. The answer to HEAD has a body too; the caller must not send it."""
        if not self._is_called_by_its_name(request):
            return _line(421, "This host name is not answered: see hosts= in leaderlock's docs/web.md.")
        if request.method not in ("GET", "HEAD"):
            return _line(405, "This page only shows: GET and HEAD.", ("Allow", "GET, HEAD"))
        if request.path == "":  # relative links would lead to the wrong place
            place = quote(request.prefix.rsplit("/", 1)[-1], safe="") + "/"
            return _line(308, f"See {place}", ("Location", f"./{place}"))
        if request.path in _STATIC:
            return _answer(200, *_STATIC[request.path])
        if request.path == "/events":
            headers = [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no"), *HEADERS]
            return Response(200, headers, f"retry: {RETRY}\n\n".encode(), is_stream=True)
        answer = _ANSWERS.get(request.path)
        if answer is None:
            return _line(404, "There is no such page.")
        return answer(Facts(self._paths, self._elections, self._health))

    def _is_called_by_its_name(self, request: Request) -> bool:
        name = name_in(request.host)
        if self._hosts is not None:
            return name in self._hosts
        return not is_loopback(request.server) or is_loopback(name)


def _elections(urls: list[str]) -> Elections | None:
    if not urls:
        return None
    from leaderlock.status.elections import Elections  # noqa: PLC0415  (only for a URL, before any fork)

    return Elections(urls, with_history=True)


def _page(facts: Facts) -> Response:
    return _answer(200, "text/html; charset=utf-8", page(facts))


def _status(facts: Facts) -> Response:
    return _json(facts.survey.as_json())


def _history(facts: Facts) -> Response:
    histories, errors = [], []
    for lock in facts.survey.locks:
        history = history_or_why_not(lock)
        if isinstance(history, str):
            errors.append({"path": lock.path, "error": history})
        else:
            histories.append(history.as_json())
    histories += [history.as_json() for history in facts.survey.histories]
    return _json({"version": 1, "time": facts.now, "locks": histories, "errors": errors})


def _health(facts: Facts) -> Response:
    good = facts.is_led() and (facts.health is None or facts.health.good)
    return _line(200 if good else 503, f"{'good' if good else 'not good'}: {facts.health_line()}")


def _metrics(facts: Facts) -> Response:
    try:
        content_type, body = metrics(facts)
    except Unsupported as error:
        return _line(501, str(error))
    return _answer(200, content_type, body)


_ANSWERS = {
    "/": _page,
    "/status.json": _status,
    "/history.json": _history,
    "/healthz": _health,
    "/metrics": _metrics,
}


def _json(document: object) -> Response:
    return _answer(200, "application/json", json_text(document).encode() + b"\n")


def _line(status: int, text: str, *headers: tuple[str, str]) -> Response:
    return _answer(status, _TEXT, printable(text).encode() + b"\n", *headers)


def _answer(status: int, content_type: str, body: bytes, *more: tuple[str, str]) -> Response:
    length = ("Content-Length", str(len(body)))
    return Response(status, [("Content-Type", content_type), length, *more, *HEADERS], body)
