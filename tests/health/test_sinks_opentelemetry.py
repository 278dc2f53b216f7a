"""`sinks.opentelemetry`: a reader of the real SDK observes the newest report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from leaderlock.health import sinks
from tests.health.sink_reports import a_critical_failure, a_report
from tests.processes import forked

Points = dict[tuple[str, tuple[tuple[str, object], ...]], float]


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def sink(reader: InMemoryMetricReader) -> Iterator[sinks.opentelemetry]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield sinks.opentelemetry(provider)
    provider.shutdown()


def points_of(reader: InMemoryMetricReader) -> Points:
    data = reader.get_metrics_data()
    return {
        (metric.name, tuple(sorted((point.attributes or {}).items()))): point.value
        for resource in (data.resource_metrics if data else [])
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }


def test_the_reader_observes_the_newest_report(
    reader: InMemoryMetricReader, sink: sinks.opentelemetry, caplog: pytest.LogCaptureFixture
) -> None:
    sink(a_report("degraded"))
    sink(a_report())
    points = points_of(reader)
    assert points["leaderlock.status", ()] == 0
    assert points["leaderlock.leader.term", ()] == 7
    assert points["leaderlock.reporter.lag", ()] == 0.001
    assert points["leaderlock.check.status", (("check", "workers"),)] == 0
    assert points["leaderlock.check.duration", (("check", "workers"),)] == 0.25
    assert points["leaderlock.check.value", (("check", "workers"), ("key", "load.1"))] == -1.25
    sink(a_critical_failure())
    assert points_of(reader)["leaderlock.check.status", (("check", "http"),)] == 2
    assert not caplog.records, "the SDK warns of a gauge that is made twice"


def test_a_process_that_does_not_lead_gives_nothing(
    reader: InMemoryMetricReader, sink: sinks.opentelemetry
) -> None:
    assert points_of(reader) == {}
    sink(a_report())
    assert forked(lambda: points_of(reader) == {}) == 0
    sink.stop()
    assert points_of(reader) == {}
    sink(a_report())  # leads again
    assert points_of(reader)["leaderlock.status", ()] == 0


def test_a_provider_that_is_set_after_the_sink_was_made_is_used() -> None:
    program = """
from leaderlock.health import sinks
from tests.health.sink_reports import a_report
sink = sinks.opentelemetry()
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
sink(a_report())
print(reader.get_metrics_data().to_json())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "leaderlock.leader.term" in run.stdout, run.stderr


def test_without_the_sdk_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from leaderlock.health import sinks; sinks.opentelemetry()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "leaderlock.errors.Unsupported: sinks.opentelemetry()" in result.stderr
    assert "pip install 'leaderlock[opentelemetry]'" in result.stderr
