"""``leaderlock status`` for a lock that 500 processes wait for, and for 1,000 locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import resource
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.imports import processor_time
from benchmarks.workers import await_queue, end, fork
from leaderlock import LeaderLock

WAITERS = 500
WAYS = {"status": [], "status --json": ["--json"], "status --all": ["--all"]}


LOCKS = 1000


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    return [_of_one_lock(directory, quick), _of_many_locks(directory, quick)]


def _of_many_locks(directory: Path, quick: bool) -> Figure:
    figure = Figure(
        "status of many",
        f"`leaderlock status` of {LOCKS:,} locks that one process holds, and of one of them",
        "ms",
        "processor time of whole runs, less that of a bare interpreter in the same round",
    )
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (2 * LOCKS, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    locks = [LeaderLock(str(directory / f"{number}.lock")) for number in range(LOCKS)]
    paths = [lock.path for lock in locks]
    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        for _ in range(2 if quick else 30):
            bare = processor_time("-c", "pass")
            for name, asked in (("one lock", paths[:1]), (f"{LOCKS:,} locks", paths)):
                figure.add(name, processor_time("-m", "leaderlock", "status", *asked) - bare)
    return figure


def _of_one_lock(directory: Path, quick: bool) -> Figure:
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
    return figure


def _wait_for(path: str) -> None:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
