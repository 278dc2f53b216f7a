"""The newest report's numbers as OpenTelemetry gauges."""

from __future__ import annotations

import os

from leaderlock.errors import Unsupported
from leaderlock.health.sinks.numbers import STATUS, flatten
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    Numbers = Callable[[Mapping[str, Any]], Iterator[tuple[float, dict[str, str]]]]


class opentelemetry:
    """A sink for OpenTelemetry: the meter provider's readers decide when and where to export.

    The gauges are ``leaderlock.status`` (0 ok, 1 degraded, 2 failing), ``leaderlock.leader.term`` and
    ``leaderlock.reporter.lag`` (seconds); for each check, with the attribute ``check``,
    ``leaderlock.check.status``, ``leaderlock.check.duration`` (seconds) and ``leaderlock.check.value``,
    which also has the attribute ``key``. A process that no longer leads exports nothing.

    Args:
        meter_provider: by default the global one at the time of the first report.

    Raises:
        Unsupported: the SDK is not installed.
    """

    @names_near_keyword
    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        try:
            import opentelemetry.sdk.metrics  # noqa: F401, PLC0415  (an extra)
        except ImportError as error:
            raise Unsupported(
                "sinks.opentelemetry() needs the SDK: run `pip install 'leaderlock[opentelemetry]'`"
            ) from error
        self.__qualname__ = "sinks.opentelemetry()"
        self._provider = meter_provider
        self._newest: Mapping[str, Any] | None = None
        self._pid = os.getpid()
        self._made = False

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Store the newest report."""
        self._newest, self._pid = report, os.getpid()
        if not self._made:  # not in __init__: the provider may be set after the fork
            self._make_gauges()
            self._made = True

    def stop(self) -> None:
        """Drop the report: this process no longer leads."""
        self._newest = None

    def _make_gauges(self) -> None:
        from opentelemetry import metrics  # noqa: PLC0415

        meter = metrics.get_meter("leaderlock", meter_provider=self._provider)
        gauges: list[tuple[str, str, Numbers]] = [
            ("status", "1", _status),
            ("leader.term", "1", _term),
            ("reporter.lag", "s", _lag),
            ("check.status", "1", _check_status),
            ("check.duration", "s", _check_duration),
            ("check.value", "1", _check_value),
        ]
        for name, unit, numbers in gauges:
            meter.create_observable_gauge(f"leaderlock.{name}", [self._observer(numbers)], unit)

    def _observer(self, numbers: Numbers) -> Callable[[CallbackOptions], Iterable[Observation]]:
        from opentelemetry.metrics import Observation  # noqa: PLC0415

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            newest = self._newest
            if newest is None or self._pid != os.getpid():
                return []
            return [Observation(number, attributes) for number, attributes in numbers(newest)]

        return observe


def _status(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    yield STATUS[report["status"]], {}


def _term(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    yield report["leader"]["term"], {}


def _lag(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    yield report["reporter"]["lag"], {}


def _check_status(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    for name, check in report["checks"].items():
        yield STATUS[check["status"]], {"check": name}


def _check_duration(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    for name, check in report["checks"].items():
        yield check["duration"], {"check": name}


def _check_value(report: Mapping[str, Any]) -> Iterator[tuple[float, dict[str, str]]]:
    for name, check in report["checks"].items():
        for key, number in flatten(check["value"]):
            yield number, {"check": name, "key": ".".join(key)}
