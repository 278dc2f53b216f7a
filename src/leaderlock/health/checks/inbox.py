"""A check of the numbers that workers send through the inbox: sums and percentiles."""

from __future__ import annotations

import math
import time
from itertools import chain

from leaderlock.kernel.arguments import names_near_keyword, several
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from leaderlock.inbox.inbox import Inbox

_LARGEST = 2**53
"""The largest whole number that every reader of JSON holds exactly."""


@names_near_keyword
def inbox(
    inbox: Inbox,
    *,
    counters: Iterable[str] = ("requests", "errors"),
    timings: Iterable[str] = ("latency",),
    on_message: Callable[[object], object] | None = None,
) -> Callable[[], dict[str, Any]]:
    """A check that sums up the messages that workers have sent since the last report.

    A message is a JSON object of numbers, such as ``{"requests": 1, "latency": 0.012}``. Numbers under
    a name in `counters` are summed. Under a name in `timings`, a number or a list of numbers gives the
    median and other percentiles, in the unit of the numbers (by nearest rank: each is a value that was
    sent). Other names are ignored. If one of these values is not a finite number of at most 2**53, the
    whole object counts as ``invalid``. A message with none of the names goes to `on_message` and counts
    as ``other``.

    The messages wait in the pipe until the check runs; no background thread reads them. Messages that a
    leader had read would be lost at its death; its successor still finds messages in the pipe. So the
    pipe must hold all messages of one interval: 1 MiB is about 20,000 messages of 45 bytes. If the pipe
    is full, messages are dropped, and the drops are reported. Then shorten the interval, or let each
    worker send sums and lists of timings once a second.

    ``interval`` is the time in seconds since this process's last report, None in its first report;
    ``totals`` count from its first report on; ``pending`` is the number of bytes that the check found.

    Args:
        inbox: the inbox that the workers send to; this check must be its only reader.
        counters: names whose numbers are summed.
        timings: names whose numbers give percentiles.
        on_message: called with each other message; an exception from it is logged.

    Raises:
        ValueError: a name is in both, or twice in one.
        TypeError: a name is not a string.
    """
    report = _Sums(inbox, _names(counters, "counters"), _names(timings, "timings"), on_message)
    twice = set(report.counters) & set(report.timings)
    if twice:
        raise ValueError(f"{sorted(twice)} cannot be both counters and timings: choose one for each")

    def check() -> dict[str, Any]:
        return report()

    check.__qualname__ = "inbox"
    return check


def _names(names: Iterable[str], what: str) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"{what} must be several names, such as ({names!r},), not a single text")
    listed = tuple(several(what, names, "names"))
    for name in listed:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be names, not {name!r}")
    if len(set(listed)) < len(listed):
        raise ValueError(f"{what} must be different names, not {listed!r}")
    return listed


class _Sums:
    """The sums and timings since the last report, and the totals."""

    def __init__(
        self,
        inbox: Inbox,
        counters: tuple[str, ...],
        timings: tuple[str, ...],
        on_message: Callable[[object], object] | None,
    ) -> None:
        self.counters = counters
        self.timings = timings
        self._inbox = inbox
        self._on_message = on_message
        self._last: float | None = None
        self._total = _Tally(counters)
        self._begin()

    def _begin(self) -> None:
        self._tally = _Tally(self.counters)
        self._values: dict[str, list[float]] = {name: [] for name in self.timings}

    def __call__(self) -> dict[str, Any]:
        pending = self._inbox.pending
        dropped, malformed = self._inbox.drops_reported, self._inbox.malformed
        for message in self._inbox.drain():
            self._add(message)
        self._tally.numbers["dropped"] += self._inbox.drops_reported - dropped
        self._tally.numbers["malformed"] += self._inbox.malformed - malformed
        return self._report(pending)

    def _add(self, message: object) -> None:
        numbers = self._tally.numbers
        numbers["messages"] += 1
        if not isinstance(message, dict) or not message.keys() & {*self.counters, *self.timings}:
            numbers["other"] += 1
            self._hand_on(message)
            return
        sums = {name: message[name] for name in self.counters if name in message}
        values = {name: _listed(message[name]) for name in self.timings if name in message}
        if not all(map(_is_number, [*sums.values(), *chain.from_iterable(values.values())])):
            numbers["invalid"] += 1
            return
        for name, value in sums.items():
            self._tally.counters[name] += value
        for name, many in values.items():
            self._values[name] += many

    def _hand_on(self, message: object) -> None:
        if self._on_message is None:
            return
        try:
            self._on_message(message)
        except Exception:  # noqa: BLE001  (any exception: the other messages still count)
            log().exception("on_message failed for %.80r", message)

    def _report(self, pending: int) -> dict[str, Any]:
        now = time.monotonic()
        interval = None if self._last is None else round(now - self._last, 3)
        tally, values, self._last = self._tally, self._values, now
        self._total.add(tally)
        self._begin()
        return {
            "interval": interval,
            **tally.as_dict(),
            "timings": {name: _distribution(many) for name, many in values.items()},
            "totals": self._total.as_dict(),
            "pending": pending,
            "capacity": self._inbox.capacity,
        }


class _Tally:
    """The numbers of messages by kind, and the sums of the counters."""

    def __init__(self, counters: tuple[str, ...]) -> None:
        self.numbers = dict.fromkeys(("messages", "other", "invalid", "dropped", "malformed"), 0)
        self.counters: dict[str, float] = dict.fromkeys(counters, 0)

    def add(self, other: _Tally) -> None:
        for name, number in other.numbers.items():
            self.numbers[name] += number
        for name, value in other.counters.items():
            self.counters[name] += value

    def as_dict(self) -> dict[str, Any]:
        return {**self.numbers, "counters": dict(self.counters)}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= _LARGEST  # also refuses NaN
    )


def _distribution(values: list[float]) -> dict[str, float | None]:
    """The count and the percentiles; without values, only the count is not null."""
    ordered = sorted(values)

    def rank(percent: int) -> float | None:
        return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None

    mean = math.fsum(ordered) / len(ordered) if ordered else None
    return {
        "count": len(ordered),
        "mean": mean,
        "p50": rank(50),
        "p95": rank(95),
        "p99": rank(99),
        "max": rank(100),
    }
