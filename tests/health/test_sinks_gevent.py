"""The sinks that use the network, in native threads of a process that gevent has patched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.processes import PATIENCE

PROGRAM = """
import gevent.monkey
gevent.monkey.patch_all()
import http.server, json, os, socket, sys, tempfile
import gevent
from leaderlock.health import sinks
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import start_new_thread
from tests.health.sink_reports import a_report

place = sys.argv[1]
got = {}
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind("\\0leaderlock-" + str(os.getpid()))
os.environ.update(NOTIFY_SOCKET="@leaderlock-" + str(os.getpid()), WATCHDOG_USEC="20000")
os.environ.pop("WATCHDOG_PID", None)
os.mkfifo(place + "/fifo")
reader = os.open(place + "/fifo", os.O_RDONLY | os.O_NONBLOCK)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        got["http"] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["version"]
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
gevent.spawn(server.serve_forever)
all_sinks = [
    sinks.statsd("127.0.0.1:%d" % udp.getsockname()[1]),
    sinks.http("http://127.0.0.1:%d/" % server.server_port),
    sinks.systemd(),
    sinks.fifo(place + "/fifo"),
]
errors = []
done = NativeEvent()

def deliver():
    for sink in all_sinks:
        try:
            sink(a_report())
        except BaseException as error:
            errors.append(repr(error))
    done.set()

start_new_thread(deliver, ())
while not done.is_set():
    gevent.sleep(0.01)
got["statsd"] = udp.recv(65536).decode().split("\\n")[0]
got["systemd"] = [manager.recv(65536).decode().split("\\n")[-1] for _ in range(3)]
got["fifo"] = json.loads(os.read(reader, 65536))["version"]
got["errors"] = errors
print(json.dumps(got), flush=True)
os._exit(0)
"""


def test_each_of_them_delivers(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )
    assert run.stdout, run.stderr
    assert json.loads(run.stdout) == {
        "http": 1,
        "statsd": "leaderlock.status:0|g",
        "systemd": ["WATCHDOG=1"] * 3,
        "fifo": 1,
        "errors": [],
    }
