"""RQ: one worker of a pool reports, and the processes that it forks for its jobs do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq import Queue

from tests.integrations.fleet import BIN, Fleet
from tests.integrations.redis_server import redis_server
from tests.processes import until


@pytest.fixture
def url() -> Iterator[str]:
    with redis_server() as url:
        yield url


def pool(url: str) -> list[object]:
    return [BIN / "rq", "worker-pool", "-n", 3, "-w", "rq_worker.LeadingWorker", "--url", url]


@pytest.mark.slow
def test_the_example_has_one_leader_and_another_one_when_that_is_killed(
    tmp_path: Path, url: str
) -> None:
    with Fleet(tmp_path, pool(url)) as fleet:
        fleet.check_failover(3, replaced=True)
        fleet.until_standing(3)


def test_a_job_runs_in_a_process_that_does_not_stand(tmp_path: Path, url: str) -> None:
    with Fleet(tmp_path, pool(url)) as fleet, redis.Redis.from_url(url) as connection:
        standing = fleet.until_standing(3)
        job = Queue(connection=connection).enqueue("os.getpid")
        until(lambda: job.return_value() is not None, "the job")
        assert job.return_value() not in standing
        assert fleet.candidates() == standing


@pytest.mark.slow
def test_a_pool_that_is_shut_down_ends_its_task_in_good_order(tmp_path: Path, url: str) -> None:
    with Fleet(tmp_path, pool(url)) as fleet:
        fleet.until_standing(3)
        until(lambda: fleet.output().count("Listening on") == 3, "the workers")
        fleet.check_shutdown()
