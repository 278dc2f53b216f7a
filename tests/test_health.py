"""The first reporter: what it reports, where to, and that nothing stops it."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election, Leadership
from leaderlock.health import HealthReporter, checks, sinks
from tests.processes import settled


def reports_of(path: Path, reporter: HealthReporter, count: int) -> list[dict[str, Any]]:
    """Let the reporter lead until it has made so many reports."""
    reports: list[dict[str, Any]] = []
    enough = threading.Event()

    def collect(report: Mapping[str, Any]) -> None:
        reports.append(dict(report))
        if len(reports) >= count:
            enough.set()

    reporter.sinks.append(collect)
    candidate = Election(path).start(reporter)
    assert enough.wait(30)
    assert candidate.stop(30)
    return reports


def test_a_report_says_who_leads_and_what_the_checks_found(tmp_path: Path) -> None:
    def answer() -> int:
        return 42

    reporter = HealthReporter(interval=1, checks=[answer], sinks=[])
    first, second, *_ = reports_of(tmp_path / "lock", reporter, 2)
    assert first["version"] == 1
    assert first["leader"]["pid"] == os.getpid()
    assert first["leader"]["term"] == 1
    assert first["checks"]["answer"]["value"] == 42
    assert first["checks"]["answer"]["status"] == "ok"
    assert second["leader"]["since"] == first["leader"]["since"]
    assert second["time"] > first["time"]
    assert second["leader"]["uptime"] > 0


def test_a_check_that_raises_or_returns_nonsense_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("the disk is on fire")

    def not_a_number() -> float:
        return float("nan")

    def no_json() -> object:
        return object()

    def fine() -> str:
        return "fine"

    reporter = HealthReporter(1, checks=[broken, not_a_number, no_json, fine], sinks=[])
    report = reports_of(tmp_path / "lock", reporter, 2)[-1]["checks"]
    assert report["broken"]["status"] == "failing"
    assert report["broken"]["error"] == "RuntimeError: the disk is on fire"
    assert report["not_a_number"]["status"] == "failing"
    assert report["no_json"]["status"] == "failing"
    assert report["fine"]["status"] == "ok"
    json.dumps(report, allow_nan=False)


def test_a_sink_that_raises_is_logged_and_the_others_get_the_report(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "missing" / "health.json"
    reporter = HealthReporter(0.01, checks=[], sinks=[sinks.file(target)])
    with caplog.at_level(logging.ERROR, logger="leaderlock"):
        assert len(reports_of(tmp_path / "lock", reporter, 2)) >= 2
    assert f"sinks.file({str(target)!r}) got no report: FileNotFoundError" in caplog.text


def test_the_file_is_whole_at_any_time_and_has_the_mode_asked_for(tmp_path: Path) -> None:
    target = tmp_path / "health.json"
    write = sinks.file(target, mode=0o640)
    report = {"padding": "x" * 100_000}
    write(report)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    stop = threading.Event()

    def keep_writing() -> None:
        while not stop.is_set():
            write(report)

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        for _ in range(300):
            assert json.loads(target.read_text()) == report
    finally:
        stop.set()
        writer.join()
    assert [entry.name for entry in tmp_path.iterdir()] == ["health.json"]


def test_the_log_gets_one_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="leaderlock.health"):
        sinks.log()({"a": [1, 2]})
    (record,) = caplog.records
    assert json.loads(record.getMessage()) == {"a": [1, 2]}
    assert "\n" not in record.getMessage()


def test_workers_are_the_children_of_the_arbiter_with_their_memory() -> None:
    children = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    try:
        for child in children:
            settled(child.pid)  # their memory changes until they have begun
        report = checks.workers(arbiter=os.getpid())()
        described = {process["pid"]: process for process in report["processes"]}
        assert report["arbiter"] == os.getpid()
        assert report["alive"] == len(described)
        for child in children:
            assert 0 < described[child.pid]["proportional"] <= described[child.pid]["resident"]
            assert described[child.pid]["age"] >= 0

        zombie = children[0]
        zombie.kill()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # and not reaped
        left = [process["pid"] for process in checks.workers(arbiter=os.getpid())()["processes"]]
        assert zombie.pid not in left
        assert children[1].pid in left
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_without_psutil_the_error_names_the_extra() -> None:
    hide = "import sys; sys.modules['psutil'] = None\n"
    code = hide + "from leaderlock.health import HealthReporter\nHealthReporter()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "pip install 'leaderlock[health]'" in result.stderr


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf")])
def test_an_interval_that_is_no_positive_number_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        HealthReporter(interval, checks=[], sinks=[])


def test_a_check_that_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="check or sink"):
        HealthReporter(1, checks=[42], sinks=[])  # type: ignore[list-item]


def test_it_is_a_task_for_an_election_by_itself(tmp_path: Path) -> None:
    seen: list[Leadership] = []

    class Noted(HealthReporter):
        def report(self, leadership: Leadership) -> dict[str, Any]:
            seen.append(leadership)
            leadership.stopping.set()
            return super().report(leadership)

    Election(tmp_path / "lock", on_return="resign").run(Noted(1, checks=[], sinks=[]))
    assert len(seen) == 1
