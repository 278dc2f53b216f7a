"""Sends reports over HTTP: each as JSON, or as a ping with the result."""

from __future__ import annotations

import json
import time

from leaderlock.kernel.arguments import names_near_keyword, number, positive_seconds
from leaderlock.supervisor.ping import import_client, ping, place_of, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from leaderlock.election.leadership import Leadership


@names_near_keyword
def http(
    url: str, *, headers: Mapping[str, str] | None = None, timeout: float = 5
) -> Callable[[Mapping[str, Any]], None]:
    """A sink that sends each report as JSON, by POST.

    Any status other than 2xx is an error. A redirect is an error too, since following it would drop the
    content of the POST. The proxies in the environment are used.

    Args:
        url: the URL of the receiver, ``http`` or ``https``.
        headers: more headers, such as ``{"Authorization": "Bearer …"}``.
        timeout: seconds for each step on the network (connecting, each read of the answer).

    Raises:
        TypeError, ValueError: an argument is invalid.
    """
    named = {"Content-Type": "application/json", **(headers or {})}
    place = place_of(url)
    positive_seconds("timeout", timeout)
    import_client()

    def post(report: Mapping[str, Any]) -> None:
        send(url, json.dumps(report, separators=(",", ":")).encode(), named, timeout)

    post.__qualname__ = f"sinks.http({place!r})"
    return post


class healthchecks:
    """A sink that pings a service such as healthchecks.io, which raises an alarm if no ping comes.

    A new leader pings ``URL/start``, a failing report ``URL/fail``, and any other report ``URL``. The
    report is the body of the request, so that the service shows it. A ping is sent when the status
    changes to or from failing, when the previous ping was not received, and otherwise every `every`
    seconds: healthchecks.io refuses more than five pings a minute.

    Args:
        url: the URL of the check.
        every: seconds between pings with the same result; the service's period must be longer.
        timeout: seconds for each step on the network.

    Raises:
        TypeError, ValueError: an argument is invalid.
    """

    @names_near_keyword
    def __init__(self, url: str, *, every: float = 60, timeout: float = 5) -> None:
        self.__qualname__ = f"sinks.healthchecks({place_of(url)!r})"
        import_client()
        self._url = url
        self._every = number("every", every, "a number of seconds")
        self._timeout = positive_seconds("timeout", timeout)
        self._last: str | None = None
        self._next = 0.0

    def start(self, _: Leadership) -> None:
        """Ping that the task begins.

        Raises:
            OSError: the service cannot be reached, or refuses the ping.
        """
        self._last = None
        self._ping("/start", b"")

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Ping, if a ping is due.

        Raises:
            OSError: the service cannot be reached, or refuses the ping.
        """
        ending = "/fail" if report["status"] == "failing" else ""
        if ending != self._last or time.monotonic() >= self._next:
            self._last = None  # until the service has received it
            self._ping(ending, json.dumps(report, indent=1).encode())
            self._last, self._next = ending, time.monotonic() + self._every

    def _ping(self, ending: str, body: bytes) -> None:
        ping(self._url, ending, body, self._timeout)
