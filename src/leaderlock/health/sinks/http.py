"""Reports over HTTP: each one as JSON, or a ping that says how it went."""

from __future__ import annotations

import json
import time

from leaderlock.supervisor.ping import import_client, ping, place_of, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from leaderlock.election.leadership import Leadership


def http(
    url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5
) -> Callable[[Mapping[str, Any]], None]:
    """A sink that sends each report as JSON, by POST.

    Any answer but a status of 2xx is an error; a redirection is one, too, since a POST that follows
    it would lose its content. The proxies that the environment names are used.

    Args:
        url: where to; ``http`` or ``https``.
        headers: sent in addition, such as ``{"Authorization": "Bearer …"}``.
        timeout: seconds for each step on the network (connecting, an answer's next bytes).

    Raises:
        ValueError: the URL is not of its form.
    """
    named = {"Content-Type": "application/json", **(headers or {})}
    place = place_of(url)
    import_client()

    def post(report: Mapping[str, Any]) -> None:
        send(url, json.dumps(report, separators=(",", ":")).encode(), named, timeout)

    post.__qualname__ = f"sinks.http({place!r})"
    return post


class healthchecks:
    """A sink that pings a service such as healthchecks.io, which raises the alarm if no ping comes.

    A new leader pings ``URL/start``; a report that fails ``URL/fail``, and any other one ``URL``. The
    report is the body, so that it is seen there. A ping goes out when the status changes to failing
    or from it, when the one before was not received, and otherwise every `every` seconds:
    healthchecks.io refuses more than five a minute.

    Args:
        url: the check's own.
        every: seconds between pings that tell the same; the service's period must be longer.
        timeout: seconds for each step on the network.

    Raises:
        ValueError: the URL is not of its form.
    """

    def __init__(self, url: str, *, every: float = 60, timeout: float = 5) -> None:
        self.__qualname__ = f"sinks.healthchecks({place_of(url)!r})"
        import_client()
        self._url = url
        self._every = every
        self._timeout = timeout
        self._last: str | None = None
        self._next = 0.0

    def start(self, _: Leadership) -> None:
        """Ping that the task begins.

        Raises:
            OSError: the service is not reached, or refuses.
        """
        self._last = None
        self._ping("/start", b"")

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Ping, if it is time.

        Raises:
            OSError: the service is not reached, or refuses.
        """
        ending = "/fail" if report["status"] == "failing" else ""
        if ending != self._last or time.monotonic() >= self._next:
            self._last = None  # until it has been received
            self._ping(ending, json.dumps(report, indent=1).encode())
            self._last, self._next = ending, time.monotonic() + self._every

    def _ping(self, ending: str, body: bytes) -> None:
        ping(self._url, ending, body, self._timeout)
