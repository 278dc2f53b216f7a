"""The reporter in a worker of a real gunicorn: its arbiter's workers, and the queue of its socket."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.health.leading import VALIDATOR
from tests.processes import until

CONFIGURATION = """
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.integrations.gunicorn import in_one_worker

workers = 2
timeout = 1000
control_socket_disable = True
bind = "unix:http"
reporter = HealthReporter(
    interval=0.1,
    checks=[checks.workers(), checks.listen_queue(critical=True), checks.cgroup(), checks.disk("/")],
    sinks=[sinks.file("health.json")],
)
post_fork = in_one_worker(reporter, path="lock")
"""

APPLICATION = """
import os

def app(environ, start_response):
    open(f"busy-{os.getpid()}", "w").close()
    os.close(os.open("fifo", os.O_RDONLY))  # until somebody opens it for writing
    start_response("204 No Content", [])
    return []
"""


class Gunicorn:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clients: list[socket.socket] = []

    def report(self, condition: Callable[[dict[str, Any]], object], what: str) -> dict[str, Any]:
        """Wait for a report that meets a condition."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            with contextlib.suppress(FileNotFoundError):
                found[:] = [json.loads((self.directory / "health.json").read_text())]
            return bool(found and condition(found[0]))

        until(look, what)
        VALIDATOR.validate(found[0])
        return found[0]

    def ask(self) -> None:
        """Send a request, and do not wait for the answer."""
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
        client.connect(os.path.relpath(self.directory / "http"))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def busy(self) -> int:
        return len(list(self.directory.glob("busy-*")))


@contextlib.contextmanager
def gunicorn(directory: Path, worker_class: str) -> Iterator[Gunicorn]:
    (directory / "application.py").write_text(APPLICATION)
    (directory / "gunicorn.conf.py").write_text(CONFIGURATION)
    os.mkfifo(directory / "fifo")
    server = Gunicorn(directory)
    with open(directory / "output", "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-k", worker_class, "application:app"],
            cwd=directory,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for client in server.clients:
            client.close()
        print((directory / "output").read_text())


def value_of(report: dict[str, Any], check: str) -> dict[str, Any]:
    """Without a key if the check took too long."""
    return report["checks"][check]["value"] or {}


def alive(report: dict[str, Any]) -> int:
    return int(value_of(report, "workers").get("alive", 0))


def test_connections_that_no_worker_takes_are_seen_while_all_are_busy(tmp_path: Path) -> None:
    with gunicorn(tmp_path, "sync") as server:
        server.report(lambda report: alive(report) == 2, "two workers")
        server.ask()
        until(lambda: server.busy() == 1, "a busy worker")
        server.ask()
        until(lambda: server.busy() == 2, "two busy workers")
        for _ in range(3):
            server.ask()
        report = server.report(
            lambda report: value_of(report, "listen_queue").get("waiting") == 3, "three to wait"
        )
        (listener,) = report["checks"]["listen_queue"]["value"]["listeners"]
        assert listener["address"] == "http"
        assert listener["limit"] > 3
        assert report["checks"]["listen_queue"]["status"] == "ok"


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_a_killed_worker_is_a_restart_and_a_killed_leader_a_failover(
    tmp_path: Path, worker_class: str
) -> None:
    if worker_class == "gevent" and importlib.util.find_spec("gevent") is None:
        pytest.skip("needs gevent")
    with gunicorn(tmp_path, worker_class) as server:
        first = server.report(lambda report: alive(report) == 2, "two workers")
        leader = first["leader"]["pid"]
        pids = {process["pid"] for process in first["checks"]["workers"]["value"]["processes"]}
        assert leader in pids
        (other,) = pids - {leader}
        os.kill(other, signal.SIGKILL)
        restarted = server.report(
            lambda report: value_of(report, "workers").get("restarts") == 1, "a new worker"
        )
        assert restarted["leader"]["failovers"] == 0
        os.kill(leader, signal.SIGKILL)
        second = server.report(lambda report: report["leader"]["pid"] != leader, "another leader")
        assert second["leader"]["failovers"] == second["leader"]["term"] - 1 == 1
        server.report(lambda report: alive(report) == 2, "two workers again")
