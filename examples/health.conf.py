"""Four workers, one of which reports the health of all, as docs/health.md explains.

    gunicorn -c examples/health.conf.py
    leaderlock health run/health.json       # is it well? A container's probe asks this
    curl http://127.0.0.1:8000/             # counted in the next report, whichever worker answers

Then kill the leader (its PID is in the report) with -9, or stop it with -STOP: another worker reports.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.inbox import Inbox
from leaderlock.integrations.gunicorn import in_one_worker

HERE = Path(__file__).parent
PORT = os.environ.get("PORT", "8000")
SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))
# Of the service's own, as systemd (RuntimeDirectory=) makes it.
RUN = Path(os.environ.get("RUNTIME_DIRECTORY", "run")).absolute()
RUN.mkdir(mode=0o700, exist_ok=True)

sys.path.insert(0, str(HERE))  # where gunicorn_app.py lies
wsgi_app = "gunicorn_app:app"
bind = f"127.0.0.1:{PORT}"
workers = 4

# Made here, in the arbiter, which so holds the pipe open when no worker does.
inbox = Inbox(RUN / "inbox")


def pre_request(_worker: Any, request: Any) -> None:
    request.begun = time.monotonic()


def post_request(_worker: Any, request: Any, _environ: Any, response: Any) -> None:
    """In the worker that has answered: tell whoever leads. Never blocks."""
    # An application that has raised has given no status.
    failed = (getattr(response, "status_code", None) or 500) >= 500
    inbox.send({"requests": 1, "errors": int(failed), "latency": time.monotonic() - request.begun})


reporter = HealthReporter(
    interval=SECONDS,
    checks=[
        checks.workers(),
        checks.listen_queue(),
        checks.cgroup(),
        checks.disk(RUN),
        # Critical: while it fails, `leaderlock health` and systemd's watchdog call for a restart.
        checks.http(f"http://127.0.0.1:{PORT}/", name="http", critical=True),
        checks.inbox(inbox),
    ],
    sinks=[
        sinks.file(RUN / "health.json"),
        sinks.log(),  # to gunicorn's error log
    ],
)

# A leader that hangs is killed by the kernel after 30 s without a beat: three times the tick. With it
# goes the worker that it is, so the lease must be longer than anything that is not a hang.
post_fork = in_one_worker(reporter, path=RUN / "leader.lock", lease=30)
