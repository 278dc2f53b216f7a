"""A task that runs APScheduler, whose jobs note their life."""

from __future__ import annotations

from apscheduler.schedulers.background import BackgroundScheduler

from leaderlock import Leadership
from tests.integrations.served import note


def schedule(leadership: Leadership) -> None:
    note("start", leadership.term)
    scheduler = BackgroundScheduler()
    scheduler.add_job(note, "interval", ["tick", leadership.term], seconds=0.05)
    scheduler.start()
    leadership.stopping.wait()
    scheduler.shutdown()
    note("stop", leadership.term)
