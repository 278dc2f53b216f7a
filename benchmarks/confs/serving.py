"""gunicorn with the hook, if $LOCK names a file, and without it otherwise."""

from __future__ import annotations

import os

if os.environ.get("LOCK"):
    from benchmarks.confs.served import task
    from leaderlock.integrations.gunicorn import in_one_worker

    post_fork = in_one_worker(task, path=os.environ["LOCK"])
