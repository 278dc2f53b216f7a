"""Waitress: one process of its own needs no election, and several by hand elect one."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.integrations.fleet import EXAMPLES, Fleet, free_port, get_page

COMMAND = [sys.executable, EXAMPLES / "waitress_servers.py"]


def test_the_example_has_one_leader_and_another_one_when_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    with Fleet(tmp_path, COMMAND, PORT=str(port)) as fleet:
        fleet.check_failover(3)
        [last] = fleet.until_standing(1)
        assert fleet.processes() == {last}
        assert get_page(port).startswith("Hello world")


def test_a_server_started_beside_another_stands_by(tmp_path: Path) -> None:
    with Fleet(tmp_path, COMMAND, PORT=str(free_port())) as fleet:
        first = fleet.process()
        fleet.until_standing(3)
        leader = fleet.leader()
        fleet.start(*map(str, COMMAND), PORT=str(free_port()))
        fleet.until_standing(6)
        assert fleet.leader().pid == leader.pid
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        fleet.until_standing(3)
        fleet.check_one_leader_at_any_time()
