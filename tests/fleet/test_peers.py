"""The comparison of `make fleet-peers` tells who has two leaders; with the peers that are installed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from benchmarks.fleet_peers import CONTENDERS, Race, cut, kill, stop
from tests.fleet.network import Network

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "fault", "overlaps"),
    [
        ("leaderlock-etcd", stop, 0),
        ("leaderlock-redis", cut, 0),
        ("client-go", stop, 1),
        ("client-go", cut, 0),
        ("client-go", kill, 0),
        ("kazoo", stop, 1),
        ("redis-py", stop, 1),
    ],
)
def test_a_fault_makes_two_leaders_or_not(
    name: str, fault: Callable[[Race, int], None], overlaps: int
) -> None:
    contender = CONTENDERS[name]
    with Network() as network:
        server = contender.server(network)
        server.start()
        race = Race(contender, server, network, sys.executable)
        try:
            for box in race.boxes:
                race.start(box)
            seconds, both = race.strike(fault)
        finally:
            race.close()
    assert seconds is not None
    assert both == overlaps
