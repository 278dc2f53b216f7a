"""A reporter with every kind of check in a process whose sockets, threads and time are green."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

from tests.health.test_network_checks import serving
from tests.test_native_threads import EVENTLET, GEVENT, Program, orders

BODY = """
import json, socket
from leaderlock.health import HealthReporter, checks, sinks
port = int(path.rpartition("-")[2])
listener = socket.create_server(("127.0.0.1", 0))
waiting = socket.create_connection(listener.getsockname())
read_end, write_end = os.pipe()
reports = []
reporter = HealthReporter(
    0.05,
    checks=[
        checks.workers(os.getpid()),
        checks.listen_queue(),
        checks.cgroup(),
        checks.disk("/"),
        checks.http(f"http://127.0.0.1:{port}/204"),
        checks.tcp(f"127.0.0.1:{port}"),
        checks.check(lambda: os.read(read_end, 1), name="blocks"),  # natively: a hub would stop
    ],
    sinks=[sinks.file(path + ".json"), reports.append],
)
candidate = leaderlock.Election(path).start(reporter)
before = ticks
def is_late_and_whole(report):
    failing = {name for name, check in report["checks"].items() if check["error"]}
    return report["reporter"]["tick"] >= 10 and failing == {"blocks"}
while not (found := [report for report in reports[:] if is_late_and_whole(report)]):
    sleep(0.001)
say(str(ticks - before))
say(repr(found[0]))
os.write(write_end, b"x")
say(str(candidate.stop(60)))
"""


@orders
@pytest.mark.parametrize(
    "library",
    [
        pytest.param(
            library,
            id=name,
            marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}"),
        )
        for name, library in (("gevent", GEVENT), ("eventlet", EVENTLET))
    ],
)
def test_the_hub_runs_on_and_every_check_works(
    tmp_path: Path, library: dict[str, str], patch_first: bool
) -> None:
    with serving() as (port, _):
        path = tmp_path / f"lock-{port}"
        with Program(library, patch_first, BODY, path) as program:
            assert int(program.line()) >= 10
            report = ast.literal_eval(program.line())
            found = report["checks"]
            assert found["blocks"]["error"].startswith("still running since")
            for name in ("listen_queue", f"http://127.0.0.1:{port}/204", f"tcp:127.0.0.1:{port}"):
                assert found[name]["error"] is None
            assert found["listen_queue"]["value"]["waiting"] == 1
            assert found[f"http://127.0.0.1:{port}/204"]["value"]["status"] == 204
            assert found["workers"]["error"] is None
            assert program.line() == "True"
            assert program.process.wait(60) == 0
