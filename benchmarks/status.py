"""``leaderlock status`` for a lock that 500 processes wait for, over a bare interpreter."""

from __future__ import annotations

import fcntl
import os
import random
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.imports import processor_time
from benchmarks.workers import await_queue, end, fork
from leaderlock import LeaderLock

WAITERS = 500
WAYS = {"status": [], "status --json": ["--json"], "status --all": ["--all"]}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    path = str(directory / "status.lock")
    figure = Figure(
        "status",
        f"`leaderlock status` of a lock that {WAITERS} processes wait for",
        "ms",
        "processor time of whole runs, less that of a bare interpreter in the same round",
    )
    life = os.pipe()
    with LeaderLock(path):
        waiters = [fork(lambda: _wait_for(path), *life) for _ in range(WAITERS)]
        try:
            await_queue(path, WAITERS)
            for _ in range(2 if quick else 30):
                bare = processor_time("-c", "pass")
                for name, options in random.sample(sorted(WAYS.items()), len(WAYS)):
                    took = processor_time("-m", "leaderlock", "status", *options, path)
                    figure.add(name, took - bare)
        finally:
            end(waiters)
            for fd in life:
                os.close(fd)
    return [figure]


def _wait_for(path: str) -> None:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
