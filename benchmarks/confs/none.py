"""The same gunicorn with the hook made, and not used: what the others' memory is compared with."""

from __future__ import annotations

import os

from benchmarks.confs.hook import task
from leaderlock.integrations.gunicorn import in_one_worker

unused = in_one_worker(task, path=os.environ["LOCK"])
