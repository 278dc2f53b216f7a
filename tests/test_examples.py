"""The examples run as they are written, and so does what docs/health.md gives to be copied."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from leaderlock.health.reporter import LONGEST_TIMEOUT
from tests.health.leading import VALIDATOR
from tests.processes import Child, flocks_of, until, until_parked
from tests.test_contrib import needs_systemd, verified

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
HEALTH = ROOT / "docs" / "health.md"
LOOP = EXAMPLES / "beating_loop.py"
OF_THE_MACHINE = (
    "disk:",
    "cgroup",
)  # a disk of the developer's that is nearly full is no fault of ours


class Example:
    """`gunicorn -c examples/health.conf.py`, on a port that the test holds."""

    def __init__(self, directory: Path) -> None:
        self.health = directory / "health.json"
        self.lock = directory / "leader.lock"
        self.output = directory / "output"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        environment = {
            "PORT": str(self.port),
            "EXAMPLE_SECONDS": "0.5",
            "RUNTIME_DIRECTORY": str(directory),
        }
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "-c", str(EXAMPLES / "health.conf.py")),
                    *("--no-control-socket", "--bind", f"fd://{self.listener.fileno()}"),
                ],
                env={**os.environ, **environment},
                pass_fds=[self.listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def report(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait for a report that meets a condition."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            with contextlib.suppress(FileNotFoundError):
                found[:] = [json.loads(self.health.read_text())]
            return bool(found and condition(found[0]))

        until(look, what)
        VALIDATOR.validate(found[0])
        return found[0]

    def logged(self) -> list[dict[str, Any]]:
        """The reports in gunicorn's log."""
        text = self.output.read_text()
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line[line.index("{") :]) for line in lines if '{"version":' in line]

    def get(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status
        finally:
            connection.close()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.listener.close()
        print(self.output.read_text())


@pytest.fixture
def example(tmp_path: Path) -> Iterator[Example]:
    server = Example(tmp_path)
    try:
        yield server
    finally:
        server.end()


def is_well(report: dict[str, Any]) -> bool:
    """All four workers are there, and what is not the machine's is ok."""
    statuses = [
        check["status"]
        for name, check in report["checks"].items()
        if not name.startswith(OF_THE_MACHINE)
    ]
    return set(statuses) == {"ok"} and report["checks"]["workers"]["value"]["alive"] == 4


def totals(report: dict[str, Any]) -> Counter[str]:
    value = report["checks"]["inbox"]["value"]  # None if the check took too long
    return Counter(value["totals"]["counters"] if value else {})


def test_the_full_reporter_in_gunicorn_reports_that_all_is_well(example: Example) -> None:
    report = example.report(is_well, "a report that all is well")
    run = str(example.health.parent)
    assert list(report["checks"]) == [
        "workers", "listen_queue", "cgroup", f"disk:{run}", "http", "inbox",
    ]  # fmt: skip
    if all(check["status"] == "ok" for check in report["checks"].values()):
        assert report["status"] == "ok"
    assert report["checks"]["http"]["critical"]
    assert list(report["reporter"]["sinks"]) == [f"sinks.file({str(example.health)!r})", "sinks.log()"]
    [listener] = report["checks"]["listen_queue"]["value"]["listeners"]
    assert listener["address"] == f"127.0.0.1:{example.port}"
    probe = [sys.executable, "-m", "leaderlock", "health", str(example.health)]

    def is_healthy() -> bool:
        # Not 3 of these short intervals, which a loaded machine can take to start the probe.
        asked = subprocess.run([*probe, "--max-age", "60"], capture_output=True, text=True)
        return (asked.returncode, asked.stdout[:7]) == (0, "healthy")

    until(is_healthy, "health")  # not at once: in the last tick checks.http may have taken too long
    until(example.logged, "a report in the log")
    first = example.logged()[0]
    VALIDATOR.validate(first)
    assert (first["leader"]["pid"], first["reporter"]["tick"]) == (report["leader"]["pid"], 0)


def test_what_the_workers_count_is_in_the_report_and_another_one_reports_when_the_leader_is_killed(
    example: Example,
) -> None:
    before = example.report(is_well, "a report that all is well")
    for _ in range(20):
        assert example.get() == 200
    counted = totals(before)["requests"] + 20  # and those of checks.http
    after = example.report(lambda report: totals(report)["requests"] >= counted, "20 requests")
    assert totals(after)["errors"] == 0
    assert after["checks"]["inbox"]["value"]["totals"]["invalid"] == 0

    leader = before["leader"]["pid"]
    os.kill(leader, signal.SIGKILL)
    second = example.report(
        lambda report: report["leader"]["pid"] != leader and is_well(report), "another one to report"
    )
    assert (second["leader"]["term"], second["leader"]["failovers"]) == (2, 1)
    example.report(lambda report: totals(report)["requests"] > 0, "the next leader to count")
    example.process.terminate()
    assert example.process.wait() == 0


@pytest.mark.slow
def test_a_loop_that_is_stuck_is_killed_and_another_process_leads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "loop.lock"
    with Child(lock, program=LOOP) as first, Child(lock, program=LOOP) as second:
        leader, standby = the_leader_first(lock, first, second)
        assert leader.line() == f"{leader.pid} 1 0"
        until_parked(lock, standby.pid)
        leader.signal(signal.SIGUSR1)
        assert leader.wait() == -signal.SIGKILL
        assert standby.line() == f"{standby.pid} 2 0"
    said = capfd.readouterr().err
    assert f"process {leader.pid} has not beaten for 80% of its lease of 5 s" in said
    assert "in block\n" in said


def test_a_loop_that_beats_lives_longer_than_its_lease(tmp_path: Path) -> None:
    with Child(tmp_path / "loop.lock", program=LOOP) as loop:
        # It counts once a second, and the lease is 5 s.
        assert [loop.line() for _ in range(8)] == [f"{loop.pid} 1 {count}" for count in range(8)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_and_its_standby_end_well_when_asked_to(
    tmp_path: Path, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "loop.lock"
    with Child(lock, program=LOOP) as first, Child(lock, program=LOOP) as second:
        leader, standby = the_leader_first(lock, first, second)
        leader.line()
        until_parked(lock, standby.pid)
        standby.signal(number)
        assert standby.wait() == 0
        leader.signal(number)
        assert leader.wait() == 0
    assert capfd.readouterr().err == ""


def the_leader_first(lock: Path, *children: Child) -> list[Child]:
    """The children, the one that holds the lock before the others."""

    def holders() -> set[int]:
        return {pid for pid, waits in flocks_of(lock) if not waits}

    until(lambda: lock.exists() and holders(), "one of them to lead")
    leading = holders()
    return sorted(children, key=lambda child: child.pid not in leading)


def block(language: str) -> str:
    """The first block in docs/health.md in this language."""
    [first, *_] = re.findall(rf"^```{language}\n(.*?)^```", HEALTH.read_text(), re.M | re.S)
    return str(first)


def seconds(name: str, text: str) -> float:
    [value] = re.findall(rf"\b{name}=(\d+)", text)
    return float(value)


def test_the_report_in_the_document_is_one() -> None:
    report = json.loads(block("json"))
    VALIDATOR.validate(report)
    configured = re.findall(r"checks\.(\w+)\(", block("python"))
    assert [name.partition(":")[0] for name in report["checks"]] == configured


@pytest.mark.parametrize(
    "file", ["docs/health.md", "contrib/Dockerfile", "contrib/compose.yaml", "contrib/kubernetes.yaml"]
)
def test_the_probes_that_we_hand_out_tell_well_from_ill(file: str, tmp_path: Path) -> None:
    found = re.findall(r"\[[^\[\]]*\bleaderlock\"?, \"?health\b[^\[\]]*\]", (ROOT / file).read_text())
    assert found
    path = tmp_path / "health.json"
    report = json.loads(block("json"))
    for words in map(yaml.safe_load, found):  # which takes JSON as well
        *before, place = words[words.index("leaderlock") + 1 :]
        assert place == "/run/app/health.json"
        probe = [sys.executable, "-m", "leaderlock", *before, str(path)]
        age = float(before[before.index("--max-age") + 1])
        for told, since in (("healthy: ", 0.0), ("not healthy: ", age)):
            path.write_text(json.dumps({**report, "time": time.time() - since}))
            asked = subprocess.run(probe, capture_output=True, text=True)
            assert asked.stdout.startswith(told)
            assert asked.returncode == (0 if since == 0 else 1)
        configuration = block("python")
        assert (
            age > seconds("lease", configuration) + seconds("interval", configuration) + LONGEST_TIMEOUT
        )


def test_the_watchdog_of_the_unit_outlasts_a_leader_that_hangs() -> None:
    lease = seconds("lease", block("python"))
    assert seconds("WatchdogSec", block("ini")) > 2 * (lease + LONGEST_TIMEOUT)


@needs_systemd
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = block("ini").replace("/opt/app/bin/gunicorn", sys.executable)
    assert verified(tmp_path, unit) == ""
