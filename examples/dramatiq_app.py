"""Dramatiq, one of whose processes reports: dramatiq dramatiq_app."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from leaderlock import Candidate, Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


class Leading(dramatiq.Middleware):
    candidate: Candidate

    def after_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        self.candidate = Election(name="example").start(report)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        self.candidate.stop(5)


broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://localhost"))
broker.add_middleware(Leading())
dramatiq.set_broker(broker)


@dramatiq.actor
def hello() -> None:
    print(f"hello from process {os.getpid()}", flush=True)
