"""A short form of the chaos in a fleet; and the checker catches a leader that outlives its lease."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.fleet import ELECTIONS, Fault, FleetMachine, draw
from tests.fleet.network import Network

pytestmark = [pytest.mark.slow, pytest.mark.alone]

STOPPED = [*(Fault(100, "stop", -number, 2500) for number in range(1, ELECTIONS + 1))]
"""Each leader is stopped for longer than its lease."""
FAULTS = [
    *STOPPED,
    Fault(1000, "cut", 1, 600),
    Fault(300, "hears nothing", 2, 1500),
    Fault(1000, "server crash", 0, 0),
    Fault(1500, "kill", 5, 0),
]


def run(faults: list[Fault], directory: Path, variant: str = "") -> list[str]:
    with Network() as network:
        machine = FleetMachine("Redis", network, directory, lease=1.0, variant=variant)
        try:
            return machine.run(faults)
        finally:
            print(machine.close())


def test_faults_of_links_server_and_processes_break_no_fleet(tmp_path: Path) -> None:
    assert run(FAULTS, tmp_path) == []


def test_the_checker_catches_leaders_that_outlive_their_leases(tmp_path: Path) -> None:
    violations = run([*STOPPED, Fault(3000, "kill", 5, 0)], tmp_path, "no dead-man")
    assert any("two at a time" in text for text in violations), violations


def test_a_seed_decides_the_faults_of_a_fleet() -> None:
    assert draw(3, 50) == draw(3, 50)
    assert draw(3, 50) != draw(4, 50)
