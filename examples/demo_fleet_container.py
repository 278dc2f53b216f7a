"""A container of `make demo-fleet`: a parent and three workers, as a prefork server has them.

demo_fleet_container.py NAME URL PIPE
"""

from __future__ import annotations

import os
import signal
import sys
import time

from leaderlock import Election, Leadership

NAME, URL, PIPE = sys.argv[1:]
WORKERS = 3


def tell(kind: str, pid: int, term: int = 0) -> None:
    line = f"{kind} {NAME} {pid} {term} {time.monotonic_ns()}\n"
    os.write(int(PIPE), line.encode())


# What the demo shows of this file begins here.
election = Election(URL, lease=3, within="leader.lock")


def task(leadership: Leadership) -> None:
    tell("first", os.getpid(), leadership.term)
    for _ in leadership.every(0.1):
        tell("beat", os.getpid(), leadership.term)


# What the demo shows of this file ends here.
def fork_worker() -> int:
    pid = os.fork()
    if pid:
        return pid
    candidate = election.start(task)
    signal.sigwait({signal.SIGTERM})
    candidate.stop()
    os._exit(0)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    workers = {fork_worker() for _ in range(WORKERS)}
    while signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGCHLD:
        for pid in list(workers):
            if os.waitpid(pid, os.WNOHANG)[0]:
                tell("dead", pid)
                workers.remove(pid)
                workers.add(fork_worker())
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    for pid in workers:
        os.waitpid(pid, 0)
        tell("dead", pid)


if __name__ == "__main__":
    main()
