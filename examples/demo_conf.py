"""The gunicorn configuration of the demo (`make demo`), which shows the lines below this one."""

import os
import time
from collections.abc import Mapping
from typing import Any

from leaderlock import Leadership
from leaderlock.health import HealthReporter, checks, sinks
from leaderlock.integrations.gunicorn import in_one_worker

PIPE = int(os.environ["DEMO_PIPE"])


def tell(kind: str, term: int) -> None:
    now = time.monotonic_ns()
    os.write(PIPE, f"{kind} {os.getpid()} {term} {now}\n".encode())


def beat(report: Mapping[str, Any]) -> None:
    tell("beat", report["leader"]["term"])


# What the demo shows of this file begins here.
workers = 4
reporter = HealthReporter(
    interval=0.1,
    checks=[checks.workers()],
    sinks=[sinks.file("health.json"), beat],  # `beat` tells the demo: I lead
)


def task(leadership: Leadership) -> None:
    tell("first", leadership.term)  # the line whose time the demo takes
    reporter(leadership)


post_fork = in_one_worker(task, path="leader.lock")
