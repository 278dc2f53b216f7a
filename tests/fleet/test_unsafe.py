"""The witness notices each election that leaves out one rule, by the very faults of test_faults.py."""

from __future__ import annotations

import os

import pytest

from tests.fleet.faults import strike
from tests.fleet.matrix import KINDS, fleet_of
from tests.fleet.unsafe import CASES, Case

LEASE = 2.0
TRIES = 5


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(case, id="-".join(case)) for case in CASES])
def test_an_unsafe_election_is_caught(case: Case) -> None:
    if os.geteuid() != 0:
        pytest.fail("the tests of a fleet need root: they make network namespaces", pytrace=False)
    (fault,) = [fault for fault in KINDS[case.kind].faults if fault.name == case.fault]
    with fleet_of(case.kind, LEASE, case.variant) as fleet:
        for _ in range(TRIES):
            strike(fault, fleet)
            if fleet.verdict.overlaps:
                return
        pytest.fail(f"never caught:\n{fleet.output}")
