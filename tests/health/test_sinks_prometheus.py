"""`sinks.prometheus` and its collector: the real parsers read what they write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from leaderlock.health import sinks
from tests.health.sink_reports import a_check, a_critical_failure, a_report
from tests.processes import forked

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def check_of(samples: Samples, name: str, check: str, **labels: str) -> float:
    return samples[f"leaderlock_check_{name}", tuple(sorted({"check": check, **labels}.items()))]


def test_the_real_parser_reads_every_number_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "leaderlock.prom"
    report = a_report()
    sinks.prometheus(path)(report)
    samples = samples_of(path.read_text())
    assert samples["leaderlock_status", ()] == 0
    assert samples["leaderlock_leader_term", ()] == 7
    assert samples["leaderlock_leader_failovers_total", ()] == 6
    assert samples["leaderlock_report_timestamp_seconds", ()] == pytest.approx(report["time"])
    assert samples["leaderlock_reporter_missed_ticks_total", ()] == 2
    assert samples["leaderlock_sink_dropped_reports_total", (("sink", "sinks.file('/x')"),)] == 3
    assert check_of(samples, "status", "workers") == 0
    assert check_of(samples, "duration_seconds", "workers") == 0.25
    assert check_of(samples, "value", "workers", key="alive") == 4
    assert check_of(samples, "value", "workers", key="load.1") == -1.25
    assert os.listdir(tmp_path) == ["leaderlock.prom"]

    sinks.prometheus(path)(a_critical_failure())
    samples = samples_of(path.read_text())
    assert samples["leaderlock_status", ()] == 2
    assert check_of(samples, "status", "http") == 2


def test_names_that_need_quotes_come_back_as_they_were_and_line_ends_as_escapes(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    odd = 'http("http://h/\\?a=1")\nü'
    sinks.prometheus(path)(
        a_report(checks={odd: a_check(value={'k"\n': 1e300}), "n": a_check(value=3)})
    )
    samples = samples_of(path.read_text(encoding="utf-8"))
    assert check_of(samples, "value", odd.replace("\n", "\\n"), key='k"\\n') == 1e300
    assert check_of(samples, "value", "n", key="") == 3


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (prometheus)")
def test_promtool_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "leaderlock.prom"
    sinks.prometheus(path)(a_critical_failure())
    with path.open("rb") as file:
        run = subprocess.run(
            ["promtool", "check", "metrics"], stdin=file, capture_output=True, text=True
        )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_file_that_node_exporter_would_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.prom"):
        sinks.prometheus(tmp_path / "leaderlock.txt")


def test_the_collector_gives_the_newest_report_to_a_registry_while_this_process_leads() -> None:
    registry = CollectorRegistry()
    collector = sinks.prometheus_collector()
    registry.register(collector)
    assert generate_latest(registry) == b""
    collector(a_report())
    collector(a_report("degraded"))
    assert registry.get_sample_value("leaderlock_status") == 1
    assert forked(lambda: generate_latest(registry) == b"") == 0, "a forked child leads nothing"
    collector.stop()
    assert generate_latest(registry) == b""


def test_every_worker_can_serve_the_leader_s_report_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "health.json"
    registry = CollectorRegistry()
    registry.register(sinks.prometheus_collector(path))
    assert generate_latest(registry) == b""
    sinks.file(path)(a_report())
    assert forked(lambda: registry.get_sample_value("leaderlock_leader_term") == 7) == 0
    path.write_text("garbage")
    with pytest.raises(json.JSONDecodeError):
        generate_latest(registry)


@pytest.mark.parametrize("make", ["prometheus('/x.prom')", "prometheus_collector()"])
def test_without_prometheus_client_the_error_names_the_extra(make: str) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        f"from leaderlock.health import sinks; sinks.{make}"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert "leaderlock.errors.Unsupported: sinks.prometheus" in result.stderr
    assert "pip install 'leaderlock[prometheus]'" in result.stderr
