"""A Celery worker, one of whose processes reports: celery -A celery_app worker."""

import os

from celery import Celery

from leaderlock import Leadership
from leaderlock.integrations.celery import in_one_worker

app = Celery("example", broker=os.environ.get("BROKER", "memory://"))


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


in_one_worker(report, name="example")
app.conf.beat_schedule = {"hello": {"task": "hello", "schedule": 0.5}}  # for one `celery beat`
