"""The checker notices each kind of violation, and knows the windows that docs/lock.md describes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chaos.checker import SECOND, Bounds, Event, violations
from tests.chaos.faults import ARENAS, Fault, draw, parse
from tests.chaos.page import LEADS, Slot
from tests.chaos.programs import ROOT
from tests.chaos.shrink import shrink

MS = 1_000_000
START = 100 * SECOND


def term(who: int, number: int, begin: float, end: float, *, leaves: bool = True) -> Slot:
    """A term; times are milliseconds."""
    entered, last = START + int(begin * MS), START + int(end * MS)
    return Slot(LEADS, who, 1000 + who, 7, number, 0, entered, last, last if leaves else 0, 3)


def event(what: str, moment: float, who: int = -1) -> Event:
    at = START + int(moment * MS)
    return Event(at, what, who, 1000 + who, at)


def found(*slots: Slot, events: tuple[Event, ...] = (), end: float = 1000) -> list[str]:
    """The first word of each violation."""
    wrong = violations(slots, events, START + int(end * MS), Bounds())
    return [text.split()[0].rstrip(":") for text in wrong]


def test_one_leader_after_another_is_right() -> None:
    assert found(term(0, 1, 0, 100), term(1, 2, 101, 200), term(0, 3, 200.1, 900)) == []


def test_a_leader_that_acts_after_another_has_entered_is_wrong() -> None:
    assert found(term(0, 1, 0, 100), term(1, 2, 99.9, 200)) == ["two"]


def test_a_killed_leader_that_did_not_leave_is_right() -> None:
    assert found(term(0, 1, 0, 100, leaves=False), term(1, 2, 101, 200)) == []


def test_all_leaders_that_overlap_are_found() -> None:
    assert found(term(0, 1, 0, 500), term(1, 2, 100, 200), term(2, 3, 300, 400)) == ["two"] * 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_term_that_repeats_or_falls_is_wrong(number: int) -> None:
    assert found(term(0, 2, 0, 100), term(1, number, 101, 200)) == ["terms"]


def test_too_long_without_a_leader_is_wrong() -> None:
    assert found(term(0, 1, 0, 100), term(1, 2, 10_200, 10_300), end=11_000) == ["leaderless"]
    assert found(term(0, 1, 0, 100), end=10_200) == ["leaderless"]
    assert found() == ["leaderless"]


def test_a_slow_machine_has_a_wider_bound() -> None:
    terms = [term(0, 1, 0, 100), term(1, 2, 10_200, 10_300)]
    for slow in (Bounds(lag=SECOND // 10), Bounds(start=SECOND)):
        assert violations(terms, [], START + 11 * SECOND, slow) == []


@pytest.mark.parametrize("what", ["delete", "replace"])
def test_two_lead_for_a_moment_after_the_file_has_gone(what: str) -> None:
    gone = (event(what, 300),)
    assert found(term(0, 1, 0, 700), term(1, 1, 310, 900), events=gone) == []
    assert found(term(0, 1, 0, 900), term(1, 1, 310, 1000), events=gone) == ["two"]
    assert found(term(0, 1, 700, 900), term(1, 2, 800, 1000), events=gone) == ["two"]


def test_a_stopped_leader_may_act_for_a_moment_when_it_is_continued_after_the_file_has_gone() -> None:
    gone = (event("stop", 200, 0), event("delete", 300), event("continue", 2000, 0))
    assert found(term(0, 1, 0, 2100), term(1, 1, 310, 2200), events=gone) == []
    assert found(term(0, 1, 0, 2600), term(1, 1, 310, 2700), events=gone) == ["two"]


def test_only_who_has_lost_its_descriptor_may_act_for_a_moment() -> None:
    assert found(term(0, 1, 0, 400), term(1, 2, 310, 900), events=(event("closerange", 305, 0),)) == []
    lost_by_another = (event("closerange", 305, 2),)
    assert found(term(0, 1, 0, 400), term(1, 2, 310, 900), events=lost_by_another) == ["two"]


def test_a_term_may_repeat_only_if_nobody_could_mend_a_file_that_was_cut_short() -> None:
    cut = (event("truncate", 300),)
    killed_at_once = term(0, 5, 0, 400, leaves=False)
    assert found(killed_at_once, term(1, 5, 500, 900), events=cut) == []
    has_mended = term(0, 5, 0, 400)
    assert found(has_mended, term(1, 5, 500, 900), events=cut) == ["terms"]


def test_the_command_of_a_killed_leaderlock_run_may_act_for_a_moment() -> None:
    killed = (event("kill run", 100, 0),)
    assert found(term(0, 1, 0, 150), term(1, 2, 101, 200), events=killed) == []
    assert found(term(0, 1, 0, 250), term(1, 2, 101, 300), events=killed) == ["two"]
    assert found(term(1, 2, 101, 200), term(0, 1, 120, 150), events=killed) == []


@pytest.mark.parametrize("arena", ARENAS)
def test_a_seed_decides_the_schedule_and_a_script_says_all_of_it(arena: str) -> None:
    schedule = draw(5, arena, 100)
    assert schedule == draw(5, arena, 100)
    assert schedule != draw(6, arena, 100)
    assert parse(str(schedule)) == schedule


def test_a_schedule_shrinks_to_the_faults_that_matter_and_keeps_their_times() -> None:
    schedule = draw(5, "strict", 100)
    needed = {Fault(1, "first"), Fault(1, "second")}
    faults = [fault._replace(wait=1) for fault in schedule.faults]
    faults[20:20], faults[70:70] = [Fault(1, "first")], [Fault(1, "second")]
    short = shrink(
        schedule._replace(faults=faults),
        lambda shorter: {fault.name for fault in needed} <= {fault.name for fault in shorter.faults},
        tries=1,
    )
    assert short.faults == [Fault(21, "first"), Fault(50, "second")]


def test_the_machine_and_the_checker_import_nothing_of_the_library() -> None:
    program = "import sys, tests.chaos.__main__; sys.exit(any('leaderlock' in m for m in sys.modules))"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
