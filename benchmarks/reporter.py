"""What a health reporter with all checks costs the leader of four workers, and how late it ticks."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from benchmarks.figure import Figure

SERVER = """
import http.server
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
WORKER = "import json, time; kept = bytearray(b'x') * 30_000_000; time.sleep(1000)"
LEADER = """
import json, os, socket, subprocess, sys, time
from leaderlock import Election
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.inbox import Inbox

path, ticks, server, worker = sys.argv[1:]
children = [subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE)]
children += [subprocess.Popen([sys.executable, "-c", worker]) for _ in range(4)]
port = int(children[0].stdout.readline())
listener = socket.create_server(("127.0.0.1", 0))
used, lags = [], []
def collect(report):
    used.append(time.process_time())
    lags.append(report["reporter"]["lag"])
reporter = HealthReporter(
    1,
    checks=[
        checks.workers(os.getpid()),
        checks.listen_queue(),
        checks.cgroup(),
        checks.disk("/"),
        checks.http(f"http://127.0.0.1:{port}/"),
        checks.tcp(f"127.0.0.1:{port}"),
        checks.inbox(Inbox(path + ".inbox")),
    ],
    sinks=[sinks.file(path + ".json"), sinks.log(), collect],
)
candidate = Election(path).start(reporter)
while len(used) < int(ticks) + 3:
    time.sleep(0.1)
candidate.stop()
for child in children:
    child.kill()
    child.wait()
json.dump([used[2:], lags[2:]], sys.stdout)  # imports and first looks come before
"""


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    words = [str(directory / "reporter.lock"), str(3 if quick else 30), SERVER, WORKER]
    run = subprocess.run(
        [sys.executable, "-c", LEADER, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    used, lags = json.loads(run.stdout)
    cost = Figure(
        "reporter",
        "a tick of a health reporter with all checks, four workers",
        "ms",
        "processor time of the leader from one report to the next, a second later",
    )
    cost.add("a tick", *((after - before) * 1000 for before, after in pairwise(used)))
    lag = Figure(
        "reporter-lag", "how late a tick begins", "ms", "as it reports itself, in the same run"
    )
    lag.add("a tick", *(seconds * 1000 for seconds in lags))
    return [cost, lag]
