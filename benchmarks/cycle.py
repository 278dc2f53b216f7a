"""One uncontended cycle: acquire and release, with a lock object that was made before."""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import fasteners
import filelock
import portalocker

import leaderlock
from benchmarks.figure import Figure

RAW = "raw open+flock+fstat+stat+close"
CYCLES = 200


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    contenders = {
        "leaderlock": _pair(leaderlock.LeaderLock(directory / "cycle-1.lock")),
        RAW: _raw(str(directory / "cycle-2.lock")),
        "fasteners": _pair(fasteners.InterProcessLock(str(directory / "cycle-3.lock"))),
        "portalocker": _pair(portalocker.Lock(str(directory / "cycle-4.lock"))),
        "filelock": _pair(filelock.FileLock(str(directory / "cycle-5.lock"))),
    }
    figure = Figure(
        "cycle",
        "one uncontended acquire and release",
        "µs",
        f"means of {CYCLES} cycles each; leaderlock's include the term, the record and the identity "
        f"check",
        {name: [] for name in contenders},
    )
    for _ in range(10 if quick else 100):
        for name, cycle in random.sample(sorted(contenders.items()), len(contenders)):
            begin = time.perf_counter_ns()
            for _ in range(CYCLES):
                cycle()
            figure.add(name, (time.perf_counter_ns() - begin) / CYCLES / 1000)
    return [figure]


class Lock(Protocol):
    def acquire(self) -> object: ...
    def release(self) -> object: ...


def _pair(lock: Lock) -> Callable[[], None]:
    acquire, release = lock.acquire, lock.release

    def cycle() -> None:
        acquire()
        release()

    return cycle


def _raw(path: str) -> Callable[[], None]:
    def cycle() -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.fstat(fd)
        os.stat(path)
        os.close(fd)

    return cycle
