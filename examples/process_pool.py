"""A pool of processes, one of which reports beside its work: python examples/process_pool.py."""

import multiprocessing
import os
import sys
import time

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


if __name__ == "__main__":
    election = Election(name="example")
    context = multiprocessing.get_context(*sys.argv[1:])  # "spawn", "fork", "forkserver"
    with context.Pool(4, initializer=election.start, initargs=[report]) as pool:
        pool.map(time.sleep, [3600] * 4)  # the pool's own work
