"""Runs of the supervisor in which a handler raises at a random instant: `raising.py PATH RUNS SEED`.

Each run is a forked child. It prints how many were hit, or what was wrong, a line for each.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys

from leaderlock.engines.flock import FlockEngine
from leaderlock.lock import LeaderLock
from leaderlock.supervisor.readiness import import_the_rest
from leaderlock.supervisor.settings import Settings
from leaderlock.supervisor.supervisor import Supervisor


class Raised(Exception):
    """By the handler."""


def raise_at_once(_number: int, _frame: object) -> None:
    raise Raised


def settings_for(path: str) -> Settings:
    # The command looks itself whether somebody else could have had the lock while it ran.
    settings = Settings(["sh", "-c", f"flock -n {path} echo freed; exit 3"])
    settings.engine = FlockEngine(LeaderLock(path))
    settings.subreaper = True
    return settings


def run_once(path: str, delay: float) -> int:
    """0 if the handler did not come in time, 1 if it raised; prints what is wrong afterwards."""
    settings = settings_for(path)
    supervisor = Supervisor(settings)
    signal.signal(signal.SIGALRM, raise_at_once)
    status = None
    with contextlib.suppress(Raised):
        try:
            signal.setitimer(signal.ITIMER_REAL, delay)
            status = supervisor.run()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    with contextlib.suppress(ChildProcessError):
        print(f"a child is left: {os.waitpid(-1, os.WNOHANG)}, {status}", flush=True)
    if isinstance(settings.engine, FlockEngine) and settings.engine.lock.locked():
        print(f"the lock is held: {status}", flush=True)
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{fd}") == path:
                print(f"descriptor {fd} of the lock is left: {status}", flush=True)
    return int(status != 3)


def main() -> None:
    path, runs, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    import_the_rest(settings_for(path))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the lines that say what was raised
    chance = random.Random(seed)
    hits = 0
    for _ in range(runs):
        delay = chance.uniform(1e-5, 0.04)
        pid = os.fork()
        if pid == 0:
            os._exit(run_once(path, delay))
        hits += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(f"hits {hits}", flush=True)


if __name__ == "__main__":
    main()
