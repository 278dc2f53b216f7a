"""Requests to a monitoring service over HTTP, in the form that healthchecks.io defined."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit, urlunsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_BODY = 100_000
"""The longest body in bytes that healthchecks.io keeps."""

_NO_POST = (405, 501)
"""Statuses of a server without POST: Method Not Allowed, and Not Implemented."""


class Refused(OSError):
    """The server has answered with a status other than 2xx.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answered {status} {reason}")
        self.status = status


def place_of(url: str) -> str:
    """The URL's scheme and host, which may be logged: paths and queries can contain keys.

    Raises:
        ValueError: the URL is invalid.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the URL must begin with http:// or https:// and a host, not {url!r}")
    if parts.username is not None:
        raise ValueError("the URL must not hold a password: remove the part before the @")
    return f"{parts.scheme}://{parts.netloc}"


def import_client() -> None:
    """Import the modules for a request (20 ms, 10 MB), before the process waits and drops its rights.

    Does nothing if gevent or eventlet must still patch: they cannot patch importers of ssl.
    """
    if "ssl" in sys.modules or not {"gevent", "eventlet"} & set(sys.modules):
        import encodings.idna  # noqa: F401, PLC0415  (looking up a host name needs it)
        import urllib.request  # noqa: F401, PLC0415


def ping(url: str, ending: str, body: bytes, timeout: float) -> None:
    """Request the URL with `ending` after its path: by POST, or by GET if the service has no POST.

    Args:
        url: the URL of the check.
        ending: ``/start``, ``/fail``, or empty for success.
        body: text that the service shows beside the ping.
        timeout: seconds for each step on the network.

    Raises:
        OSError: the service cannot be reached, or refuses the ping.
    """
    parts = urlsplit(url)
    address = urlunsplit(parts._replace(path=parts.path.rstrip("/") + ending))
    try:
        send(address, body[:LONGEST_BODY], {"Content-Type": "text/plain"}, timeout)
    except Refused as refused:
        if refused.status not in _NO_POST:
            raise
        send(address, None, {}, timeout)


def send(url: str, body: bytes | None, headers: Mapping[str, str], timeout: float) -> None:
    """Send a body by POST; without a body, send a GET. The body of the answer is ignored.

    Raises:
        OSError: the server cannot be reached, or answers with a status other than 2xx.
    """
    from urllib import error, request  # noqa: PLC0415  (see `import_client`)

    class NoRedirection(request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            """Let a redirect be an error, like every status other than 2xx."""

    asked = request.Request(url, body, dict(headers), method="GET" if body is None else "POST")
    try:
        with request.build_opener(NoRedirection).open(asked, timeout=timeout):
            pass
    except error.HTTPError as refused:
        refused.close()
        raise Refused(refused.code, refused.reason) from None
