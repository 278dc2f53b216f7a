"""From SIGKILL of the leading worker to the first line of the next one's task, in real gunicorn."""

from __future__ import annotations

import os
import random
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.server import Server
from benchmarks.workers import settle

KILLS_IN_A_ROUND = 5


MEGABYTES = 200


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    rounds = 1 if quick else 20
    small = _failover(
        Figure(
            "failover-gunicorn",
            "failover after SIGKILL in gunicorn, 4 workers",
            "ms",
            "the same server and application; only post_fork differs",
            {"leaderlock's hook": [], "bare flock thread": []},
        ),
        directory,
        rounds,
    )
    os.environ |= {"MEGABYTES": str(MEGABYTES), "LEADERLOCK_KEEPER": "1"}
    large = _failover(
        Figure(
            "failover-gunicorn-keeper",
            f"failover after SIGKILL in gunicorn, 4 workers of {MEGABYTES} MB, with keepers",
            "ms",
            "the same server and application; only post_fork differs; leaderlock-native is installed",
            {"leaderlock's hook": [], "bare flock thread": []},
        ),
        directory,
        rounds,
    )
    return [small, large]


def _failover(figure: Figure, directory: Path, rounds: int) -> Figure:
    for number in range(rounds):
        place = directory / f"{figure.name}-{number}"
        place.mkdir()
        with Server("hook", place) as hook, Server("thread", place) as thread:
            servers = [("leaderlock's hook", hook), ("bare flock thread", thread)]
            for _ in range(KILLS_IN_A_ROUND):
                for name, server in random.sample(servers, len(servers)):
                    settle()
                    figure.add(name, server.kill_leader())
    return figure
