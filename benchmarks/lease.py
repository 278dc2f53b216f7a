"""The successor of a hung leader in real gunicorn, from the end of the lease; and what a beat costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.server import Server
from leaderlock import Election, Leadership

LEASE = 1.0
HANGS = {
    "is stopped by SIGSTOP": "stops",
    "holds the GIL in C": "holds",
    "deadlocks": "deadlocks",
    "loops without a beat": "loops",
}
BEATS = 1000


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    return [_beats(directory, 5 if quick else 100), _successions(directory, 2 if quick else 20)]


def _beats(directory: Path, rounds: int) -> Figure:
    figure = Figure(
        "beat", "a beat", "µs", f"means of {BEATS} beats each; the lock's file is looked at"
    )

    def task(leadership: Leadership) -> None:
        for _ in range(rounds):
            begin = time.perf_counter_ns()
            for _ in range(BEATS):
                leadership.beat()
            figure.add("Leadership.beat", (time.perf_counter_ns() - begin) / BEATS / 1000)

    Election(directory / "beat.lock", lease=60, on_return="resign").run(task)
    return figure


def _successions(directory: Path, rounds: int) -> Figure:
    figure = Figure(
        "lease",
        "the next leader after one that hangs, in gunicorn, 4 workers",
        "ms",
        f"from the end of a lease of {LEASE:g} s, which began with the last beat, to the first line of "
        "the next one's task",
    )
    os.environ["LEASE"] = str(LEASE)
    for name, hang in HANGS.items():
        os.environ["HANG"] = hang
        place = directory / f"lease-{hang}"
        place.mkdir()
        with Server("lease", place) as server:
            for _ in range(rounds):
                figure.add(name, server.until_succeeded() - LEASE * 1000)
    return figure
