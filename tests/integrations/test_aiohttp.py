"""aiohttp under gunicorn, with its worker class: one worker reports, and all serve."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.integrations.fleet import Fleet, free_port, get_page

pytestmark = pytest.mark.slow


def command(port: int, *options: str) -> list[object]:
    gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "-w", 4, *options]
    return [*gunicorn, "-b", f"127.0.0.1:{port}", "-k", "aiohttp.GunicornWebWorker", "aiohttp_app:app"]


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_the_example_has_one_leader_and_another_one_when_that_is_killed(
    tmp_path: Path, options: list[str]
) -> None:
    port = free_port()
    with Fleet(tmp_path, command(port, *options)) as fleet:
        fleet.check_failover(4, replaced=True)
        assert fleet.until_standing(4) == fleet.workers()
        assert get_page(port).startswith("process ")


def test_a_server_that_is_shut_down_ends_its_task_in_good_order(tmp_path: Path) -> None:
    port = free_port()
    with Fleet(tmp_path, command(port)) as fleet:
        fleet.until_standing(4)
        get_page(port)
        fleet.check_shutdown()
