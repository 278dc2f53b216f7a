"""A pool of four processes, one of which reports beside its work: python examples/process_pool.py."""

import multiprocessing
import os
import signal
import sys

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


if __name__ == "__main__":
    context = multiprocessing.get_context(
        *sys.argv[1:]
    )  # "spawn", "fork", "forkserver", or the default
    with context.Pool(4, initializer=Election(name="example").start, initargs=[report]) as pool:
        print(sum(pool.map(abs, range(100))))  # the pool's own work
        signal.pause()
