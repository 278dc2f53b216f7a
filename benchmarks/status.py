"""``leaderlock status`` for a lock that 500 processes wait for, over a bare interpreter."""

from __future__ import annotations

import fcntl
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.workers import await_queue
from leaderlock import LeaderLock

WAITERS = 500
BARE = "python3 -c pass"
WAYS = {"status": [], "status --json": ["--json"], "status --all": ["--all"]}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    path = str(directory / "status.lock")
    figure = Figure(
        "status",
        f"`leaderlock status` of a lock that {WAITERS} processes wait for",
        "ms",
        "processor time of whole runs, less that of a bare interpreter in the same round",
    )
    lock = LeaderLock(path)
    with lock:
        waiters = [_waiter(path) for _ in range(WAITERS)]
        try:
            await_queue(path, WAITERS)
            for _ in range(2 if quick else 30):
                bare = _processor_time("-c", "pass")
                for name, options in random.sample(sorted(WAYS.items()), len(WAYS)):
                    took = _processor_time("-m", "leaderlock", "status", *options, path)
                    figure.add(name, (took - bare) * 1000)
        finally:
            for pid in waiters:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    return [figure]


def _waiter(path: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
        finally:
            os._exit(0)
    return pid


def _processor_time(*words: str) -> float:
    """Seconds that a run of Python takes of a processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
