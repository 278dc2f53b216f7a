"""RQ, one of whose workers reports: rq worker-pool -n 4 --worker-class rq_worker.LeadingWorker."""

from __future__ import annotations

import os
from typing import Any

from rq import Worker

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


class LeadingWorker(Worker):
    def work(self, *arguments: Any, **keywords: Any) -> bool:
        Election(name="example").start(report)
        return super().work(*arguments, **keywords)
