"""gunicorn whose leader hangs, in the way that $HANG names, soon after it has begun."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

from benchmarks.stamps import stamp
from leaderlock import Leadership
from leaderlock.integrations.gunicorn import in_one_worker

STAMPS = int(os.environ["STAMPS"])
LEASE = float(os.environ["LEASE"])
timeout = 0  # gunicorn's own watch over its workers would find a stopped one, too


def is_stopped() -> None:
    while True:  # another thread may take the signal, and this one run on for a moment
        os.kill(os.getpid(), signal.SIGSTOP)


def holds_the_gil() -> None:
    ctypes.PyDLL(None).sleep(600)


def deadlocks() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def does_not_beat() -> None:
    while True:
        time.sleep(0.01)


HANGS = {"stops": is_stopped, "holds": holds_the_gil, "deadlocks": deadlocks, "loops": does_not_beat}


def task(leadership: Leadership) -> None:
    stamp(STAMPS)
    # The others must have parked before this one dies.
    time.sleep(LEASE / 4)
    leadership.beat()
    stamp(STAMPS)
    HANGS[os.environ["HANG"]]()


post_fork = in_one_worker(task, path=os.environ["LOCK"], lease=LEASE)
