"""Every fault, once with every engine: never two leaders, and the next one comes in time.

`make fleet` lets each fault strike at least 20 times, and writes docs/fleet-results.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.fleet.containers import Fleet
from tests.fleet.faults import LEADS_ON, MOVES, Fault, strike
from tests.fleet.matrix import KINDS, fleet_of

LEASE = 2.0

# A busy machine takes its time to start, connect and kill a process. `make fleet` measures.
SLACK = 10.0


class Fleets:
    """The fleet of the latest tests, which goes on from fault to fault until one fails."""

    def __init__(self) -> None:
        self._name = ""
        self._stack = contextlib.ExitStack()

    def get(self, name: str) -> Fleet:
        if name != self._name:
            self.close()
            self._fleet = self._stack.enter_context(fleet_of(name, LEASE))
            self._name = name
        return self._fleet

    def close(self) -> None:
        self._name = ""
        self._stack.close()


@pytest.fixture(scope="module")
def fleets() -> Iterator[Fleets]:
    if os.geteuid() != 0:
        pytest.fail("the tests of a fleet need root: they make network namespaces", pytrace=False)
    fleets = Fleets()
    yield fleets
    fleets.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(name, fault, id=f"{name}-{fault.name}", marks=pytest.mark.xdist_group(name))
        for name, kind in KINDS.items()
        for fault in kind.faults
    ],
)
def test_a_fault_makes_no_second_leader(fleets: Fleets, name: str, fault: Fault) -> None:
    fleet = fleets.get(name)
    try:
        outcome = strike(fault, fleet)
        assert not fleet.verdict.faults, fleet.output
        if fault.expected == MOVES:
            assert outcome.moved
        if fault.expected == LEADS_ON and outcome.outage < LEASE / 2:
            assert not outcome.moved, fleet.output
        assert outcome.seconds < KINDS[name].bound(fault, LEASE) + SLACK, fleet.output
    except BaseException:
        fleets.close()
        raise
