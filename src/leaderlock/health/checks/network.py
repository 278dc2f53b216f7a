"""Checks that a server answers: an HTTP server, or any server on a TCP port."""

from __future__ import annotations

import re
import socket
import time

from leaderlock._version import __version__
from leaderlock.health.checks.check import Check, CheckResult, check
from leaderlock.kernel.arguments import names_near_keyword, positive_seconds
from leaderlock.supervisor.ping import import_client

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

PATIENCE = 5.0
"""Seconds for each step (connecting, each read) if no timeout is given."""

_BODY_BYTES = 65_536
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


@names_near_keyword
def http(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
    slow: float | None = None,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[CheckResult]:
    """A check that requests a URL: failing unless the HTTP status is from 200 to 399.

    Its value: `status` (the HTTP status) and `latency`, the seconds from the start of the connection to
    the first line of the answer. Redirects are not followed, no proxy is used, and each run opens a new
    connection. Certificates are verified.

    Args:
        url: ``http://`` or ``https://``, without user and password.
        headers: more headers of the request, such as ``Host`` or ``Authorization``.
        context: for https, the TLS settings; by default `ssl.create_default_context`.
        slow: the check is degraded from this latency in seconds on.
        name, timeout, critical: the same as in `checks.check`; the default name is the URL without its
            query. The timeout (or 5 s) also limits each step of the connection.

    Raises:
        ValueError: the URL or another argument is invalid.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415  (3 ms, only with this check)

    try:
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{url!r} is not a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or _NOT_IN_A_URL.search(url):
        raise ValueError(
            f"url must look like http://127.0.0.1:8000/healthz, with %-escapes if needed; not {url!r}"
        )
    if parts.username is not None:
        raise ValueError(
            "the URL of checks.http() must not contain a user and a password, because the report shows "
            "the URL: give headers={'Authorization': …}"
        )
    if context is not None and parts.scheme != "https":
        raise ValueError(f"context needs an https URL, not {url!r}")
    if slow is not None:
        positive_seconds("slow", slow)
    for header in dict(headers or {}).items():
        _check_header(*header)
    host = parts.hostname
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = {"User-Agent": f"leaderlock/{__version__}", "Connection": "close", **(headers or {})}
    patience = PATIENCE if timeout is None else timeout
    import_client()

    def http() -> CheckResult:
        import http.client  # noqa: PLC0415  (see `import_client`)

        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=patience, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=patience)
        begin = time.monotonic()
        try:
            connection.request("GET", target, headers=sent)
            response = connection.getresponse()
            latency = time.monotonic() - begin
            response.read(_BODY_BYTES)  # closing early would look like an error to the server
        finally:
            connection.close()
        value = {"status": response.status, "latency": round(latency, 6)}
        if not 200 <= response.status < 400:
            return CheckResult(value, "failing", f"the answer was {response.status} {response.reason}")
        return _unless_slow(value, latency, slow)

    default = f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"
    return check(http, name=name or default, timeout=timeout, critical=critical)


@names_near_keyword
def tcp(
    address: str | tuple[str, int],
    *,
    slow: float | None = None,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[CheckResult]:
    """A check that connects to a TCP port and closes the connection.

    Its value: `latency`, the seconds for the connection (including the name lookup).

    Args:
        address: ``"host:port"``, ``"[IPv6]:port"`` or ``(host, port)``.
        slow: the check is degraded from this latency in seconds on.
        name, timeout, critical: the same as in `checks.check`; the name is ``tcp:ADDRESS`` by default.

    Raises:
        ValueError: an argument is invalid.
    """
    host, port = _host_and_port(address)
    if slow is not None:
        positive_seconds("slow", slow)
    patience = PATIENCE if timeout is None else timeout
    import encodings.idna  # noqa: F401, PLC0415  (looking up a host name needs it)

    def tcp() -> CheckResult:
        begin = time.monotonic()
        socket.create_connection((host, port), patience).close()
        latency = time.monotonic() - begin
        return _unless_slow({"latency": round(latency, 6)}, latency, slow)

    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return check(tcp, name=name or f"tcp:{shown}", timeout=timeout, critical=critical)


def _check_header(header: object, value: object) -> None:
    if not (isinstance(header, str) and _HEADER_NAME.fullmatch(header)):
        raise ValueError(f"{header!r} is not the name of an HTTP header")
    if not (isinstance(value, str) and _HEADER_VALUE.fullmatch(value)):
        # Without the value, since it may be a password.
        raise ValueError(f"the value of the header {header} must be one line of text, in Latin-1")


def _unless_slow(value: Mapping[str, object], latency: float, slow: float | None) -> CheckResult:
    if slow is not None and latency >= slow:
        return CheckResult(
            value, "degraded", f"the answer took {latency:.3f} s, and {slow:g} s is slow"
        )
    return CheckResult(value)


def _host_and_port(address: str | tuple[str, int]) -> tuple[str, int]:
    given: object = address  # may come from a configuration file
    if isinstance(given, str):
        # In an IPv6 address without brackets, the colon before the port is ambiguous.
        match = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", given)
        given = (match[1] or match[2], int(match[3])) if match else None
    if isinstance(given, tuple) and len(given) == 2:
        host, port = given
        if isinstance(host, str) and host and isinstance(port, int) and 0 < port < 65_536:
            return host, port
    raise ValueError(
        "address must look like 'db.example:5432', '[::1]:5432' or ('db.example', 5432), "
        f"not {address!r}"
    )
