"""The page of `make fleet`: what it says of the results."""

from __future__ import annotations

from tests.fleet.faults import Outcome
from tests.fleet.matrix import KINDS
from tests.fleet.rounds import Entry, jobs_of, table
from tests.fleet.unsafe import CASES, VARIANTS


def cells_of(fault: str, entries: list[Entry]) -> list[str]:
    (line,) = [line for line in table("Redis", entries) if line.startswith(f"| {fault} |")]
    return [cell.strip() for cell in line.strip("| ").split("|")]


def test_a_row_counts_who_led_on_and_shows_the_times_of_the_others() -> None:
    entries = [
        Entry("link cut", Outcome(moved, seconds, 0, gap), [])
        for moved, seconds, gap in ((True, 3.0, 0.1), (True, 2.0, 0.4), (False, 0, 0.2), (True, 2.5, 0))
    ]
    assert cells_of("link cut", entries) == ["link cut", "4", "1", "2.50", "3.00", "3.3", "0.40", "0"]


def test_a_row_counts_what_was_wrong() -> None:
    entries = [
        Entry("link cut", Outcome(True, 0.5, 0, 0), ["process 2 began while process 1 existed"]),
        Entry("link cut", None, ["nobody led"]),
    ]
    assert cells_of("link cut", entries)[-1] == "2"


def test_every_fault_of_every_kind_belongs_to_one_job() -> None:
    for kind, known in KINDS.items():
        struck = [fault for job in jobs_of(kind, 1) for fault in job.faults]
        assert struck == [fault.name for fault in known.faults]
    assert len({job.path for kind in KINDS for job in jobs_of(kind, 1)}) == sum(
        len(jobs_of(kind, 1)) for kind in KINDS
    )


def test_every_variant_that_is_not_safe_has_a_fault_that_shows_it() -> None:
    assert {case.variant for case in CASES} == set(VARIANTS)
    for case in CASES:
        assert case.fault in [fault.name for fault in KINDS[case.kind].faults]
