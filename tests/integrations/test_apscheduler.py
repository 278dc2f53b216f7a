"""APScheduler runs in one process, the leader's, and ends with its term."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler

from leaderlock import Election, Leadership
from tests.integrations.fleet import BIN, EXAMPLES, Fleet
from tests.processes import until

HOOK = f"""\
import os, sys
sys.path.insert(0, {str(EXAMPLES)!r})
from leaderlock.integrations.gunicorn import in_one_worker
from tests.integrations.apscheduler_task import schedule
control_socket_disable = True
workers = 4
bind = "127.0.0.1:0"
post_fork = in_one_worker(schedule, name="example", backoff=(0.05, 0.2))
"""


def test_the_example_in_four_processes(tmp_path: Path) -> None:
    command = [sys.executable, EXAMPLES / "apscheduler_job.py"]
    with Fleet(tmp_path, *[command] * 4) as fleet:
        fleet.check_failover(4)


def test_in_gunicorn_jobs_run_in_one_worker_and_move_with_the_leadership(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(HOOK)
    with Fleet(tmp_path, [BIN / "gunicorn", "gunicorn_app:app"]) as fleet:
        fleet.check_failover(4, replaced=True)
        fleet.until_standing(4)
        first = fleet.leader()
        os.kill(first.pid, signal.SIGTERM)
        fleet.leader(not_among=[first.pid])
        assert [note.event for note in fleet.notes() if note.pid == first.pid][-1] == "stop"
        fleet.check_one_leader_at_any_time()


def test_the_scheduler_is_shut_down_before_the_leadership_passes_on(path: Path) -> None:
    ran = threading.Event()
    at_resignation: list[bool] = []
    scheduler = BackgroundScheduler()

    def schedule(leadership: Leadership) -> None:
        scheduler.add_job(ran.set, "interval", seconds=0.01)
        scheduler.start()
        leadership.stopping.wait()
        scheduler.shutdown()

    election = Election(path, on_resigned=lambda _: at_resignation.append(scheduler.running))
    candidate = election.start(schedule)
    try:
        assert ran.wait(60)
    finally:
        assert candidate.stop(60)
    assert at_resignation == [False]
    until(lambda: not any("APScheduler" in thread.name for thread in threading.enumerate()), "its end")
