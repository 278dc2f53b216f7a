"""Requests to a monitoring service over HTTP, in the form that healthchecks.io has given them."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit, urlunsplit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_BODY = 100_000
"""Bytes of a ping's body that healthchecks.io keeps."""

_NO_POST = (405, 501)
"""Method Not Allowed, and Not Implemented."""


class Refused(OSError):
    """The server has answered, with a status that is not 2xx.

    Attributes:
        status: the status.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the server answered {status} {reason}")
        self.status = status


def place_of(url: str) -> str:
    """The URL's scheme and host, which a log may show: paths and queries hold keys.

    Raises:
        ValueError: the URL is not of its form.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the URL must begin with http:// or https:// and a host, not {url!r}")
    if parts.username is not None:
        raise ValueError("the URL must not hold a password: remove the part before the @")
    return f"{parts.scheme}://{parts.netloc}"


def import_client() -> None:
    """Import what a request needs, before the process waits and drops its rights; 20 ms, and 10 MB.

    Not where gevent or eventlet has yet to patch: they cannot patch what has imported ssl before that.
    """
    if "ssl" in sys.modules or not {"gevent", "eventlet"} & set(sys.modules):
        import encodings.idna  # noqa: F401, PLC0415  (the look-up of a host's name needs it)
        import urllib.request  # noqa: F401, PLC0415


def ping(url: str, ending: str, body: bytes, timeout: float) -> None:
    """Ask for the URL with `ending` after its path: by POST, or by GET where the service has no POST.

    Args:
        url: the check's own.
        ending: ``/start``, ``/fail``, or nothing for success.
        body: text that the service shows beside the ping.
        timeout: seconds for each step on the network.

    Raises:
        OSError: the service is not reached, or refuses.
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
    """Send a body by POST; without one, ask by GET. What the server answers does not matter.

    Raises:
        OSError: the server is not reached, or answers with a status that is not 2xx.
    """
    from urllib import error, request  # noqa: PLC0415  (see `import_client`)

    class NoRedirection(request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            """Let it be an error, like all that is not 2xx."""

    asked = request.Request(url, body, dict(headers), method="GET" if body is None else "POST")
    try:
        with request.build_opener(NoRedirection).open(asked, timeout=timeout):
            pass
    except error.HTTPError as refused:
        refused.close()
        raise Refused(refused.code, refused.reason) from None
