"""Huey, one of whose worker processes reports: huey_consumer huey_app.huey -k process -w 4."""

from __future__ import annotations

import os

from huey import RedisHuey

from leaderlock import current_leadership, only_once

huey = RedisHuey("example", url=os.environ.get("REDIS_URL", "redis://localhost"))


@huey.on_startup()
@only_once(name="example")
def report() -> None:
    leadership = current_leadership()
    assert leadership is not None
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


@huey.task()
def hello() -> None:
    print(f"hello from process {os.getpid()}", flush=True)
