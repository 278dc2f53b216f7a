"""The newest report for Prometheus: as a text file, or by prometheus-client's registry."""

from __future__ import annotations

import os

from leaderlock.errors import Unsupported
from leaderlock.health.sinks.numbers import STATUS, flatten
from leaderlock.kernel.arguments import names_near_keyword, path_text, permission_bits
from leaderlock.kernel.foreign_json import parsed
from leaderlock.kernel.replacement import replace_file
from leaderlock.wording import printable_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from prometheus_client.core import Metric


@names_near_keyword
def prometheus(
    path: str | os.PathLike[str], *, mode: int = 0o644
) -> Callable[[Mapping[str, Any]], None]:
    """A sink that replaces a file for node_exporter's textfile collector by each report, in one step.

    Args:
        path: the file; its name must end in ``.prom``, since node_exporter reads no other file.
        mode: the permissions of the file; node_exporter's user must be able to read it.

    Raises:
        ValueError: the file's name does not end in ``.prom``.
        Unsupported: prometheus-client is not installed.
    """
    from_client = _client("sinks.prometheus()")
    target = os.path.abspath(path_text(path))
    permission_bits(mode)
    if not target.endswith(".prom"):
        raise ValueError(f"the file's name must end in .prom, or node_exporter skips it: {target!r}")

    def write(report: Mapping[str, Any]) -> None:
        registry = from_client.CollectorRegistry(auto_describe=False)
        collector = prometheus_collector()
        collector(report)
        registry.register(collector)
        replace_file(target, from_client.generate_latest(registry), mode)

    write.__qualname__ = f"sinks.prometheus({target!r})"
    return write


class prometheus_collector:
    """A sink that is also a collector: ``prometheus_client.REGISTRY.register(collector)``.

    It collects the newest report, and nothing in a process that does not lead. Often any worker may
    serve the page of metrics. To show the leader's report in all of them, register a collector in each
    worker, with the `path` of the file that ``sinks.file(path)`` writes.

    Args:
        path: read the report from this file at each scrape; the collector then need not be in the list
            of sinks. A missing file means that there is no report.

    Raises:
        Unsupported: prometheus-client is not installed.
    """

    @names_near_keyword
    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        _client("sinks.prometheus_collector()")
        self.__qualname__ = "sinks.prometheus_collector()"
        self._path = path
        self._newest: Mapping[str, Any] | None = None
        self._pid = 0

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Store the newest report."""
        self._newest, self._pid = report, os.getpid()

    def stop(self) -> None:
        """Drop the report: this process no longer leads."""
        self._newest = None

    def describe(self) -> list[Metric]:
        """Nothing: the metrics depend on the report."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of the newest report.

        Raises:
            OSError, ValueError: the file cannot be read, or is not a report.
        """
        report = self._read() if self._path is not None else self._newest
        if report is not None and (self._path is not None or self._pid == os.getpid()):
            yield from _metrics(report)

    def _read(self) -> Mapping[str, Any] | None:
        assert self._path is not None
        try:
            with open(self._path, "rb") as file:
                report: Mapping[str, Any] = parsed(file.read())
        except FileNotFoundError:
            return None
        return report


def _client(sink: str) -> Any:
    try:
        import prometheus_client.core  # noqa: PLC0415  (an extra; `_metrics` needs core)
    except ImportError as error:
        raise Unsupported(
            f"{sink} needs prometheus-client: run `pip install 'leaderlock[prometheus]'`"
        ) from error
    return prometheus_client


def _metrics(report: Mapping[str, Any]) -> Iterator[Metric]:
    report = printable_within(report)
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    def gauge(name: str, text: str, value: float) -> Metric:
        return GaugeMetricFamily(f"leaderlock_{name}", text, value=value)

    def counter(name: str, text: str, value: float) -> Metric:
        return CounterMetricFamily(f"leaderlock_{name}", text, value=value)

    leader, reporter = report["leader"], report["reporter"]
    scale = "0 is ok, 1 degraded, 2 failing"
    yield gauge("status", f"The worst of all checks: {scale}.", STATUS[report["status"]])
    yield gauge("report_timestamp_seconds", "When the report was made.", report["time"])
    yield gauge("leader_term", "The leader's term.", leader["term"])
    yield gauge("leader_elected_timestamp_seconds", "When it was elected.", leader["since"])
    yield counter("leader_failovers", "How often another one took over.", leader["failovers"])
    yield gauge("reporter_interval_seconds", "Between two reports.", reporter["interval"])
    yield gauge("reporter_lag_seconds", "By which the newest one was late.", reporter["lag"])
    yield counter("reporter_missed_ticks", "Reports left out.", reporter["missed"])

    dropped = CounterMetricFamily(
        "leaderlock_sink_dropped_reports", "Reports that a slow sink did not get.", labels=["sink"]
    )
    errors = CounterMetricFamily("leaderlock_sink_errors", "Failures of a sink.", labels=["sink"])
    for name, sink in reporter["sinks"].items():
        dropped.add_metric([name], sink["dropped"])
        errors.add_metric([name], sink["errors"])
    yield from (dropped, errors)

    status = GaugeMetricFamily("leaderlock_check_status", f"A check: {scale}.", labels=["check"])
    duration = GaugeMetricFamily(
        "leaderlock_check_duration_seconds", "How long a check took.", labels=["check"]
    )
    value = GaugeMetricFamily(
        "leaderlock_check_value",
        "A number in a check's value, by the keys that lead to it.",
        labels=["check", "key"],
    )
    for name, check in report["checks"].items():
        status.add_metric([name], STATUS[check["status"]])
        duration.add_metric([name], check["duration"])
        for key, number in flatten(check["value"]):
            value.add_metric([name, ".".join(key)], number)
    yield from (status, duration, value)
