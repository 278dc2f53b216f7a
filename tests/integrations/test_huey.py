"""Huey: one of the consumer's worker processes reports, whatever kind they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet
from tests.integrations.redis_server import redis_server
from tests.processes import until


@pytest.fixture
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def consumer(kind: str, workers: int) -> list[object]:
    return [
        BIN / "huey_consumer",
        "huey_app.huey",
        "-k",
        kind,
        "-w",
        workers,
        "--health-check-interval",
        1,
    ]


def send(fleet: Fleet) -> None:
    code = "import huey_app; huey_app.hello()"
    subprocess.run([sys.executable, "-c", code], env=fleet.environment, check=True)


@pytest.mark.slow
def test_the_example_has_one_leader_and_another_one_when_that_is_killed(
    tmp_path: Path, url: str
) -> None:
    with Fleet(tmp_path, consumer("process", 3), REDIS_URL=url) as fleet:
        fleet.check_failover(3, replaced=True)
        fleet.until_standing(3)
        send(fleet)
        until(lambda: "hello from process" in fleet.output(), "the message")


@pytest.mark.slow
def test_several_consumers_whose_workers_are_threads_have_one_leader(tmp_path: Path, url: str) -> None:
    with Fleet(tmp_path, *[consumer("thread", 4)] * 3, REDIS_URL=url) as fleet:
        fleet.check_failover(3)


def test_who_only_sends_messages_does_not_stand(tmp_path: Path, url: str) -> None:
    fleet = Fleet(tmp_path, REDIS_URL=url)
    send(fleet)
    assert not fleet.lock.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_consumer_that_is_shut_down_ends_its_task_in_good_order(
    tmp_path: Path, url: str, kind: str
) -> None:
    with Fleet(tmp_path, consumer(kind, 2), REDIS_URL=url) as fleet:
        fleet.until_standing(2 if kind == "process" else 1)
        until(lambda: "commands are available" in fleet.output(), "the consumer")
        fleet.check_shutdown()
