"""`leaderlock health`: the real program as a container's probe."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from leaderlock import Election
from leaderlock.election.leadership import Leadership
from leaderlock.health import HealthReporter, checks, sinks
from tests.health.sink_reports import a_check, a_critical_failure, a_report
from tests.processes import run_task
from tests.test_run import run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "health.json"


def probe(*arguments: str | Path, status: int) -> str:
    """What it prints, which is one line."""
    result = run("health", *map(str, arguments))
    assert (result.returncode, result.stderr) == (status, ""), result
    assert result.stdout.count("\n") == 1
    return result.stdout.strip()


def write(path: Path, report: Any, age: float = 0) -> None:
    """A report and its file, as old as that."""
    path.write_text(json.dumps(report))
    os.utime(path, (time.time() - age,) * 2)


def test_a_report_of_the_real_reporter_is_healthy_until_its_critical_check_fails(
    path: Path, tmp_path: Path
) -> None:
    works = True

    def serves() -> str:
        if not works:
            raise RuntimeError("it does not answer")
        return "yes"

    critical = checks.check(serves, critical=True)
    election = Election(tmp_path / "lock", on_return="resign")

    def once(leadership: Leadership) -> None:
        sinks.file(path)(HealthReporter(600, [critical], []).report(leadership))

    run_task(election, once)
    assert f"healthy: process {os.getpid()} reported" in probe(path, status=0)
    works = False
    run_task(election, once)
    line = probe(path, status=1)
    assert line == f"not healthy: {path}: failing: serves: RuntimeError: it does not answer"


def test_a_degraded_service_is_healthy_since_to_restart_it_would_not_mend_it(path: Path) -> None:
    checks = {"disk": a_check("degraded"), "cache": a_check("failing", error="OSError: gone")}
    write(path, a_report("degraded", checks=checks))
    line = probe(path, status=0)
    assert line == "healthy, but degraded: disk is degraded; cache: OSError: gone"


def test_a_failing_report_is_not_healthy_and_the_critical_check_comes_first(path: Path) -> None:
    report = a_critical_failure()
    report["checks"] = {"disk": a_check("degraded"), **report["checks"]}
    write(path, report)
    line = probe(path, status=1)
    assert line.endswith("failing: http: ConnectionRefusedError: nobody listens; disk is degraded")


@pytest.mark.parametrize(("of_report", "of_file"), [(100, 0), (0, 100), (100, 100)])
def test_the_age_is_that_of_the_report_or_of_its_file_whichever_is_older(
    path: Path, of_report: float, of_file: float
) -> None:
    write(path, a_report(time=time.time() - of_report), of_file)
    assert "s old; it should be at most 30 s: no leader" in probe(path, status=1)
    assert "it should be at most 99 s" in probe(path, "--max-age", "99", status=1)
    probe(path, "--max-age", "1000", status=0)


def test_by_default_a_report_is_good_for_three_of_its_own_intervals(path: Path) -> None:
    report = a_report(time=time.time() - 100)
    write(path, report)
    probe(path, status=1)
    report["reporter"]["interval"] = 300
    write(path, report)
    probe(path, status=0)


def test_a_report_from_the_future_has_no_age(path: Path) -> None:
    write(path, a_report(time=time.time() + 10_000), -10_000)
    assert "ahead of the clock" in probe(path, status=1)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "no directory", "device"])
def test_what_is_no_file_is_not_healthy_and_not_waited_for(path: Path, kind: str) -> None:
    told = "not a regular file"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path = path / "x" if kind == "no directory" else path
        told = "there is no report"
    assert told in probe(path, status=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_may_not_be_read_is_not_healthy(path: Path) -> None:
    write(path, a_report())
    path.chmod(0)
    program = (
        "import os, sys; from leaderlock.cli import main; import leaderlock.cli.health\n"
        "os.setgid(65534); os.setuid(65534); sys.exit(main(sys.argv[1:]))"
    )
    fd = os.open(path, os.O_PATH)
    result = subprocess.run(
        [sys.executable, "-c", program, "health", f"/proc/self/fd/{fd}"],
        capture_output=True,
        text=True,
        pass_fds=[fd],
    )
    os.close(fd)
    assert (result.returncode, result.stderr) == (1, "")
    assert "it cannot be read: Permission denied" in result.stdout


def broken_reports() -> dict[str, Any]:
    without = a_report()
    del without["reporter"]
    odd_check = a_report(checks={"x": "ok"})
    return {
        "empty": "",
        "half": json.dumps(a_report())[:100],
        "list": [],
        "number": 1,
        "null": None,
        "binary": b"\xff\xfe\x00",
        "deep": "[" * 100_000,
        "other": {"version": 1},
        "version": {"version": 2, "verdict": "fine"},
        "status": a_report("fine"),
        "unhashable": a_report([]),  # type: ignore[arg-type]
        "time": a_report(time="now"),
        "nan": a_report(time=math.nan),
        "huge": a_report(time=10**400),
        "null time": a_report(time=None),
        "no reporter": without,
        "checks": a_report(checks=[1]),
        "check": odd_check,
    }


@pytest.mark.parametrize("kind", broken_reports())
def test_what_is_no_report_is_not_healthy(path: Path, kind: str) -> None:
    content = broken_reports()[kind]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    told = "version 2" if kind == "version" else "not a report"
    assert told in probe(path, status=1)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a", "b"],
        ["--max-age", "x", "a"],
        ["--max-age", "-1", "a"],
        ["--max-age", "nan", "a"],
        ["--max-age"],
        ["--strange", "a"],
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    result = run("health", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("leaderlock health: ")
    assert "see leaderlock health --help" in result.stderr


def test_the_help_names_the_exit_statuses() -> None:
    result = run("health", "--help")
    assert result.returncode == 0
    assert "--max-age SECONDS" in result.stdout
    assert "Exit status" in result.stdout
    assert "leaderlock health" in run("--help").stdout


def test_it_is_light_as_it_runs_every_few_seconds(path: Path) -> None:
    write(path, a_report())
    program = (
        "import sys; before = set(sys.modules); from leaderlock.cli import main; "
        "status = main(sys.argv[1:]); print(*sorted(set(sys.modules) - before)); sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", program, "health", str(path)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.splitlines()[-1].split())
    ours = {name for name in loaded if name.partition(".")[0] == "leaderlock"}
    assert "leaderlock.cli.health" in ours
    of_health = {name for name in ours if name.startswith("leaderlock.health")}
    assert of_health == {"leaderlock.health", "leaderlock.health.probe"}
    assert not loaded & {
        "logging",
        "argparse",
        "subprocess",
        "asyncio",
        "socket",
        "threading",
        "ctypes",
    }
