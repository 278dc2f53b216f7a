"""Dramatiq: one of its worker processes reports; neither the main one does, nor who sends messages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet
from tests.integrations.redis_server import redis_server
from tests.processes import until

COMMAND = [BIN / "dramatiq", "--processes", 2, "--threads", 2, "dramatiq_app"]


@pytest.fixture
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def send(fleet: Fleet) -> None:
    code = "import dramatiq_app; dramatiq_app.hello.send()"
    subprocess.run([sys.executable, "-c", code], env=fleet.environment, check=True)


@pytest.mark.slow
def test_the_example_has_one_leader_and_another_one_when_that_is_killed(
    tmp_path: Path, url: str
) -> None:
    # Where one worker is killed, Dramatiq ends all workers of that command.
    with Fleet(tmp_path, *[COMMAND] * 3, REDIS_URL=url) as fleet:
        fleet.until_standing(6)
        for left in (4, 2):
            leader = fleet.leader()
            os.kill(leader.pid, 9)
            fleet.until_standing(left, without=[leader.pid])
        fleet.check_one_leader_at_any_time()
        send(fleet)
        until(lambda: "hello from process" in fleet.output(), "the message")


def test_who_only_sends_messages_does_not_stand(tmp_path: Path, url: str) -> None:
    fleet = Fleet(tmp_path, REDIS_URL=url)
    send(fleet)
    assert not fleet.lock.exists()


@pytest.mark.slow
def test_workers_that_are_shut_down_end_their_task_in_good_order(tmp_path: Path, url: str) -> None:
    with Fleet(tmp_path, COMMAND, REDIS_URL=url) as fleet:
        fleet.until_standing(2)
        until(lambda: fleet.output().count("is ready for action") == 2, "the workers")
        until(lambda: "is booting up" in fleet.output(), "the main process")
        fleet.check_shutdown()
