"""From SIGKILL of the leading worker to the first line of the next one's task, in real gunicorn."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.server import Server
from benchmarks.workers import settle

KILLS_IN_A_ROUND = 5


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    figure = Figure(
        "failover-gunicorn",
        "failover after SIGKILL in gunicorn, 4 workers",
        "ms",
        "the same server and application; only post_fork differs",
        {"leaderlock's hook": [], "bare flock thread": []},
    )
    for number in range(1 if quick else 20):
        place = directory / f"gunicorn-{number}"
        place.mkdir()
        with Server("hook", place) as hook, Server("thread", place) as thread:
            servers = [("leaderlock's hook", hook), ("bare flock thread", thread)]
            for _ in range(KILLS_IN_A_ROUND):
                for name, server in random.sample(servers, len(servers)):
                    settle()
                    figure.add(name, server.kill_leader())
    return [figure]
