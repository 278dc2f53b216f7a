"""APScheduler in one of the processes that run this file: python examples/apscheduler_job.py."""

import os

from apscheduler.schedulers.background import BackgroundScheduler

from leaderlock import Election, Leadership


def schedule(leadership: Leadership) -> None:
    said = f"process {os.getpid()} leads, term {leadership.term}"
    scheduler = BackgroundScheduler()
    scheduler.add_job(print, "interval", [said], {"flush": True}, seconds=0.2)
    scheduler.start()
    leadership.stopping.wait()
    scheduler.shutdown()  # waits for the jobs that run


Election(name="example").run(schedule)
