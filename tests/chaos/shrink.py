"""Shrinks the schedule of a failing round: delta debugging over the list of its faults.

A round depends on chance as well, so a shorter schedule counts as failing if one of some tries fails.
See Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.faults import Schedule


def without(schedule: Schedule, left_out: range) -> Schedule:
    """The schedule without some of its faults; the others strike at the same times."""
    faults, waited = [], 0
    for number, fault in enumerate(schedule.faults):
        waited += fault.wait
        if number not in left_out:
            faults.append(fault._replace(wait=waited))
            waited = 0
    return schedule._replace(faults=faults)


def shrink(
    schedule: Schedule,
    fails: Callable[[Schedule], bool],
    *,
    tries: int = 2,
    seconds: float = 300,
    report: Callable[[Schedule], object] = lambda _: None,
) -> Schedule:
    """The shortest schedule found that still fails.

    Args:
        schedule: one that failed.
        fails: runs a round, and says whether it fails.
        tries: rounds for each shorter schedule.
        seconds: after which the shortest one until then is good enough.
        report: called with each shorter schedule that fails.
    """
    until = time.monotonic() + seconds
    parts = 2
    while schedule.faults and time.monotonic() < until:
        size = -(-len(schedule.faults) // parts)
        for begin in range(0, len(schedule.faults), size):
            shorter = without(schedule, range(begin, begin + size))
            if any(fails(shorter) for _ in range(tries) if time.monotonic() < until):
                schedule, parts = shorter, max(parts - 1, 2)
                report(schedule)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(schedule.faults))
    return schedule
