"""One gunicorn, whose workers stand with leaderlock's hook, with a bare thread, or not at all."""

from __future__ import annotations

import os

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from benchmarks.confs import hook, thread


def post_fork(server: Arbiter, worker: Worker) -> None:
    if worker.age % 3 == 0:
        hook.post_fork(server, worker)
    elif worker.age % 3 == 1:
        thread.stand(os.environ["LOCK"] + ".thread")
