"""Sanic's own server of several processes: one reports, and all serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet, free_port, get_page

pytestmark = pytest.mark.slow


def command(port: int) -> list[object]:
    return [BIN / "sanic", "--workers", 4, "--port", port, "sanic_app:app"]


def test_the_example_has_one_leader_and_another_one_when_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    with Fleet(tmp_path, command(port)) as fleet:
        fleet.check_failover(4)
        assert get_page(port).startswith("process ")


def test_a_server_that_is_shut_down_ends_its_task_in_good_order(tmp_path: Path) -> None:
    port = free_port()
    with Fleet(tmp_path, command(port)) as fleet:
        fleet.until_standing(4)
        get_page(port)
        fleet.check_shutdown()
