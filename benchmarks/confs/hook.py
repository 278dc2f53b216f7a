"""gunicorn with leaderlock's hook."""

from __future__ import annotations

import os

from benchmarks.stamps import LONG, stamp
from leaderlock import Leadership
from leaderlock.integrations.gunicorn import in_one_worker

STAMPS = int(os.environ["STAMPS"])


def task(leadership: Leadership) -> None:
    stamp(STAMPS)
    leadership.wait(LONG)


post_fork = in_one_worker(task, path=os.environ["LOCK"])
