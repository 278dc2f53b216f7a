"""What a reporter with all checks costs the leader of four workers, and how late its ticks come."""

from __future__ import annotations

import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from tests.processes import Child

TICKS = 10

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

START = """
import socket
import subprocess
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.inbox import Inbox

server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
port = int(server.stdout.readline())
listener = socket.create_server(("127.0.0.1", 0))
sleeper = "import json, time; kept = bytearray(b'x') * 30_000_000; time.sleep(1000)"
workers = [subprocess.Popen([sys.executable, "-c", sleeper]) for _ in range(4)]
reports = []
used = []
def collect(report):
    reports.append(report)
    used.append(time.process_time())
reporter = HealthReporter(
    1,
    checks=[
        checks.workers(os.getpid()),
        checks.listen_queue(),
        checks.cgroup(),
        checks.disk("/"),
        checks.http(f"http://127.0.0.1:{port}/"),
        checks.tcp(f"127.0.0.1:{port}"),
        checks.inbox(Inbox(argv[0] + ".inbox")),
    ],
    sinks=[sinks.file(argv[0] + ".json"), sinks.log(), collect],
)
candidate = leaderlock.Election(argv[0]).start(reporter)
"""


@pytest.mark.slow
@pytest.mark.alone
def test_all_checks_of_four_workers_cost_a_hundredth_of_a_core_and_ticks_are_on_time(
    path: Path,
) -> None:
    with Child(path) as leader:
        leader.tell(START.replace("SERVER", repr(SERVER)))
        leader.tell(f"[time.sleep(0.1) for _ in iter(lambda: len(used) < {TICKS + 3}, False)] and None")
        used = leader.tell("used")[2:]  # imports and first looks come before
        lags = leader.tell("[report['reporter']['lag'] for report in reports]")
        assert leader.tell("candidate.stop(60)")
    # The median of the ticks: what one of them costs more is the machine's doing.
    each = statistics.median(after - before for before, after in pairwise(used))
    assert each <= 0.010
    assert statistics.median(lags) < 0.005
