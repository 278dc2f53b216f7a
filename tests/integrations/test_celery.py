"""One leader among the processes of real Celery workers of each pool, and one `celery beat`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock.integrations.celery import in_one_worker
from tests.integrations.fleet import Fleet
from tests.processes import until

CELERY = [sys.executable, "-m", "celery"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]


def worker(app: str, pool: str, number: int, *options: object) -> list[object]:
    """The command for a worker with this pool, of so many processes or threads."""
    return [*CELERY, "-A", app, "worker", "-P", pool, "-c", number, *QUIET, *options]


def until_ready(fleet: Fleet, number: int = 1) -> None:
    until(lambda: fleet.output().count(" ready.") >= number, "the workers")


def test_the_example_with_the_prefork_pool(tmp_path: Path) -> None:
    with Fleet(tmp_path, worker("celery_app", "prefork", 4)) as fleet:
        fleet.check_failover(4, replaced=True)
        until_ready(fleet)
        assert fleet.until_standing(4) == fleet.workers()


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent"])
def test_the_example_with_each_pool_that_is_one_process(tmp_path: Path, pool: str) -> None:
    commands = [worker("celery_app", pool, 2, "-n", f"worker{number}@%h") for number in range(3)]
    with Fleet(tmp_path, *commands) as fleet:
        fleet.check_failover(3)


def test_two_workers_with_prefork_pools_have_one_leader(tmp_path: Path) -> None:
    commands = [worker("celery_app", "prefork", 2, "-n", f"worker{number}@%h") for number in range(2)]
    with Fleet(tmp_path, *commands) as fleet:
        fleet.check_failover(4, replaced=True)


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "gevent"])
def test_a_worker_that_is_shut_down_asks_its_task_to_stop(tmp_path: Path, pool: str) -> None:
    with Fleet(tmp_path, worker("tests.integrations.celery_site", pool, 2)) as fleet:
        fleet.until_standing(2 if pool == "prefork" else 1)
        leader = fleet.leader()
        until_ready(fleet)
        fleet.process().send_signal(signal.SIGTERM)
        assert fleet.process().wait(60) == 0
        assert [note.event for note in fleet.notes() if note.pid == leader.pid][-1] == "stop"
        fleet.check_one_leader_at_any_time()


def test_a_process_of_the_pool_that_is_recycled_asks_its_task_to_stop(tmp_path: Path) -> None:
    options = ["--max-tasks-per-child", 1]
    with Fleet(tmp_path, worker("tests.integrations.celery_site", "prefork", 2, *options)) as fleet:
        fleet.until_standing(2)
        send = "from tests.integrations.celery_site import work\nfor _ in range(6): work.delay()"

        def has_moved_twice() -> bool:
            done = [note.event for note in fleet.notes()].count("work")
            subprocess.run([sys.executable, "-c", send], env=fleet.environment, check=True)
            until(lambda: [note.event for note in fleet.notes()].count("work") == done + 6, "the work")
            return len(fleet.terms()) >= 3

        until(has_moved_twice, "the leadership to move")
        fleet.check_one_leader_at_any_time()
        notes = fleet.notes()
        for term in [note.term for note in notes if note.event == "start"][:-1]:
            assert "stop" in {note.event for note in notes if note.term == term}


def test_who_only_sends_messages_does_not_stand(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    send = "from tests.integrations.celery_site import work\nwork.delay()"
    subprocess.run([sys.executable, "-c", send], env=fleet.environment, check=True)
    assert len(list((tmp_path / "broker").iterdir())) >= 1
    assert not fleet.lock.exists()


HANGING = """
from celery import Celery
from leaderlock.integrations.celery import in_one_worker
from tests.integrations.served import HangsInItsFirstTerm, stop
app = Celery(broker="memory://")
in_one_worker(HangsInItsFirstTerm(stop), name="example", lease=2)
"""


def test_a_leader_that_hangs_is_killed_by_its_lease(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    with Fleet(tmp_path, worker("hanging", "prefork", 2)) as fleet:
        until(lambda: "hang" in {note.event for note in fleet.notes()}, "the leader to hang")
        [hung] = [note.pid for note in fleet.notes() if note.event == "hang"]
        assert fleet.leader(not_among=[hung]).term > 1
        fleet.until_standing(2)
        fleet.check_one_leader_at_any_time()


def beats(fleet: Fleet) -> set[int]:
    """The PIDs of the processes that are `celery beat`."""
    found = set()
    for pid in fleet.processes():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"beat" in words and b"run" not in words:
            found.add(pid)
    return found


@pytest.mark.parametrize("options", [[], ["--exec"]], ids=["supervised", "exec"])
def test_one_celery_beat_by_leaderlock_run(tmp_path: Path, options: list[str]) -> None:
    beat = [*CELERY, "-A", "celery_app", "beat", "--loglevel", "INFO", "--pidfile", ""]
    run = [sys.executable, "-m", "leaderlock", "run", "--name", "example", *options, "--", *beat]
    with Fleet(tmp_path, *[run] * 3) as fleet:
        for turn in range(1, 3):
            until(lambda turn=turn: fleet.output().count("beat: Starting...") == turn, "beat")  # type: ignore[misc]
            sent = fleet.output().count("Sending due task")
            until(lambda sent=sent: fleet.output().count("Sending due task") > sent + 1, "its messages")  # type: ignore[misc]
            first = beats(fleet)
            assert len(first) == 1
            [holder] = fleet.leaders()
            os.kill(holder, signal.SIGKILL)
            until(lambda first=first: len(beats(fleet)) == 1 and beats(fleet) != first, "the next beat")  # type: ignore[misc]
        assert fleet.output().count("beat: Starting...") <= 3


def test_a_task_of_the_wrong_form_is_refused() -> None:
    with pytest.raises(TypeError, match="must take one argument, the leadership"):
        in_one_worker(lambda: None)  # type: ignore[arg-type, misc]
    with pytest.raises(ValueError, match="lease"):
        in_one_worker(print, name="example", lease=-1)
