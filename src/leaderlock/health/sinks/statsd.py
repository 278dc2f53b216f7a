"""Sends the numbers of each report as gauges to a StatsD or DogStatsD server.

This sink uses no library, since each number is one line of text. Among maintained libraries, `statsd`
supports neither tags nor Unix datagrams, and `datadog` brings an HTTP client along. Both hide the
socket errors that tell the reporter that no server is listening.
"""

from __future__ import annotations

import os
import re
import socket

from leaderlock.health.sinks.numbers import STATUS, flatten
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

PORT = 8125
LONGEST_DATAGRAM = 1432
"""The most bytes that fit an Ethernet frame unfragmented, as StatsD's documentation advises."""

_LONGEST_NAME = 250
_TIMEOUT = 1.0  # of one datagram into a Unix socket whose queue is full


@names_near_keyword
def statsd(
    address: str = f"127.0.0.1:{PORT}",
    prefix: str = "leaderlock",
    tags: Mapping[str, str] | None = None,
) -> Callable[[Mapping[str, Any]], None]:
    """A sink that sends every number of the report as a gauge.

    The names are ``PREFIX.status`` (0 ok, 1 degraded, 2 failing), ``PREFIX.leader.term``,
    ``PREFIX.reporter.lag`` and so on, and for each check ``PREFIX.checks.NAME.status``,
    ``….duration`` (seconds) and ``….value`` with the keys that lead to the number. In a key, each
    character other than a letter, a digit, ``_`` or ``-`` becomes ``_``; a name is cut at 250
    characters.

    UDP loses datagrams silently. The sink notices a refused datagram only if the kernel reports it,
    which it does for a server on this machine.

    Args:
        address: ``HOST:PORT`` (``[::1]:8125`` for IPv6; the default port is 8125), looked up again for
            each report, or the path of a Unix datagram socket (``/run/statsd.sock``,
            ``unix:///run/…``).
        prefix: the beginning of each name.
        tags: sent with each gauge, in DogStatsD's form (``|#env:prod``). Other servers may refuse them.

    Raises:
        ValueError: an argument is invalid.
    """
    place = _parse(address)
    suffix = _suffix(tags or {})
    start = ".".join(filter(None, map(_clean, prefix.split("."))))
    if not start:
        raise ValueError(f"prefix must have a letter or a digit, not {prefix!r}")

    def send(report: Mapping[str, Any]) -> None:
        lines = (_line(start, name, value, suffix) for name, value in _gauges(report))
        _send(place, _datagrams(lines))

    send.__qualname__ = f"sinks.statsd({address!r})"
    return send


def _parse(address: str) -> str | tuple[str, int]:
    path = address.removeprefix("unix://")
    if path.startswith("/"):
        return path
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:/\[\]\s]+))(?::(\d{1,5}))?", address)
    port = int(found[3] or PORT) if found else 0
    if not found or not 0 < port < 65536:
        raise ValueError(f"address must be HOST:PORT or a socket's path, not {address!r}")
    return found[1] or found[2], port


def _suffix(tags: Mapping[str, str]) -> str:
    if not tags:
        return ""
    suffix = "|#" + ",".join(f"{_tag(key)}:{_tag(value)}" for key, value in tags.items())
    if len(suffix.encode()) > LONGEST_DATAGRAM // 2:
        raise ValueError(f"tags must fit into {LONGEST_DATAGRAM // 2} bytes")
    return suffix


def _tag(text: str) -> str:
    return re.sub(r"[|,#\s]", "_", str(text))


def _gauges(report: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    yield ("status",), STATUS[report["status"]]
    for part in ("leader", "reporter"):
        yield from flatten(report[part], (part,))
    for name, check in report["checks"].items():
        yield ("checks", name, "status"), STATUS[check["status"]]
        yield ("checks", name, "duration"), check["duration"]
        yield from flatten(check["value"], ("checks", name, "value"))


def _line(start: str, name: tuple[str, ...], value: float, suffix: str) -> str:
    metric = ".".join([start, *(_clean(key) or "_" for key in name)])[:_LONGEST_NAME]
    line = f"{metric}:{value!r}|g{suffix}"
    # StatsD, unlike DogStatsD, takes a signed number as a change of the previous value. So send 0
    # first, in the same datagram, since only there the order is kept.
    return f"{metric}:0|g\n{line}" if value < 0 and not suffix else line


def _clean(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", key).strip("_")


def _datagrams(lines: Iterable[str]) -> Iterator[bytes]:
    """Datagrams with as many lines as fit in each."""
    collected = b""
    for line in lines:
        encoded = line.encode()
        if collected and len(collected) + 1 + len(encoded) > LONGEST_DATAGRAM:
            yield collected
            collected = b""
        collected += b"\n" + encoded if collected else encoded
    yield collected


def _send(place: str | tuple[str, int], datagrams: Iterable[bytes]) -> None:
    """Use a new socket, so that neither a fork nor a changed address of the host does harm."""
    target: Any = place
    family = socket.AF_UNIX
    if not isinstance(place, str):
        family, _, _, _, target = socket.getaddrinfo(*place, 0, socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.settimeout(_TIMEOUT)
        sender.connect(target)  # so that a refusal is reported to us: udp(7)
        for datagram in datagrams:
            sender.send(datagram)
        error = sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # for the last datagram
        if error:
            raise OSError(error, f"{os.strerror(error)}: does a StatsD server listen there?")
