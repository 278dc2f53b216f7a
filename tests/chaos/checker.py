"""Proves from a page and from the machine's log that an election was right.

It shares no code with the library. A leader marks when it enters, again and again while it leads, and
when it leaves. Two led at a time if one of them marks that it leads after another one has entered: it
*acted* then. A stopped leader does not act, but does so when it is continued, if nothing has killed it.

Times are nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.chaos.page import COMPLAINTS, LEADS, Slot

SECOND = 1_000_000_000


class Event(NamedTuple):
    """What the machine did.

    Attributes:
        moment: when it was done.
        what: "kill", "stop", "continue", "delete", …
        who: the candidate that it struck; -1: none.
        pid: the process that it struck; 0: none.
        begun: when it was begun.
    """

    moment: int
    what: str
    who: int = -1
    pid: int = 0
    begun: int = 0


class Bounds(NamedTuple):
    """What may pass, in nanoseconds.

    Attributes:
        lag: the longest that the machine itself had to wait for a processor.
        start: what the first leader took, from the start of all candidates.
        window: after the lock file was deleted or replaced, until an old leader has noticed.
        leaderless: without anybody leading, while a candidate lives.
        command: after SIGKILL to `leaderlock run`, until its command has ended (docs/pid1.md, Limits).
        grow: whether the machine sets `lag` and `start`.
    """

    lag: int = 0
    start: int = 0
    window: int = SECOND // 2
    leaderless: int = 10 * SECOND
    command: int = SECOND // 10
    grow: bool = True


FILE = ("delete", "replace")


def terms_of(slots: Iterable[Slot]) -> list[Slot]:
    """The terms, in the order in which they began."""
    return sorted((slot for slot in slots if slot.kind == LEADS), key=lambda slot: slot.entered)


def complaints(slots: Iterable[Slot]) -> list[str]:
    """What candidates found wrong themselves."""
    return [
        f"process {slot.pid} (candidate {slot.who}): {COMPLAINTS[slot.kind]} ({slot.term})"
        for slot in slots
        if slot.kind != LEADS
    ]


def two_at_a_time(terms: Sequence[Slot], events: Sequence[Event], bounds: Bounds) -> list[str]:
    """Each leader that acted after a later one had entered, but in the windows that are documented."""
    found = []
    acting: list[Slot] = []
    for later in terms:
        acting = [slot for slot in acting if slot.last > later.entered]
        for earlier in acting:
            same = (earlier.pid, earlier.started) == (later.pid, later.started)
            if not same and not _is_documented(earlier, later, events, bounds):
                found.append(
                    f"two at a time: {_name(earlier)} acted {(earlier.last - later.entered) / 1e6:.3f}"
                    f" ms after {_name(later)} had entered; {_around(earlier, later, events)}"
                )
        acting.append(later)
    return found


def _name(slot: Slot) -> str:
    return f"process {slot.pid} (candidate {slot.who}, term {slot.term})"


def _around(earlier: Slot, later: Slot, events: Sequence[Event]) -> str:
    """What struck either of them, or the file, within a second; milliseconds from the later entry."""
    near = [
        f"{event.what} of {event.who} at {(event.moment - later.entered) / 1e6:+.1f}"
        for event in events
        if event.who in (-1, earlier.who, later.who) and abs(event.moment - later.entered) < SECOND
    ]
    entered = (earlier.entered - later.entered) / 1e6
    return f"it had entered at {entered:+.1f}; struck: {', '.join(near)}"


def _is_documented(earlier: Slot, later: Slot, events: Sequence[Event], bounds: Bounds) -> bool:
    slack = bounds.lag + SECOND // 5
    for event in events:
        if event.what in FILE or (event.what == "closerange" and event.who == earlier.who):
            if not earlier.entered - slack <= event.moment or not event.begun <= later.entered + slack:
                continue
            # Whoever is stopped notices nothing before it is continued.
            resumed = [e.moment for e in events if e.what == "continue" and e.pid == earlier.pid]
            since = max([event.moment, later.entered, *(m for m in resumed if m <= earlier.last)])
            if earlier.last <= since + bounds.window + 4 * bounds.lag:
                return True
    return _is_dying(earlier, earlier.last, events, bounds) or _is_dying(
        later, later.last, events, bounds
    )


def _is_dying(slot: Slot, moment: int, events: Sequence[Event], bounds: Bounds) -> bool:
    """Whether it is the command of a `leaderlock run` that was killed just before."""
    return any(
        event.what == "kill run"
        and event.who == slot.who
        and event.begun <= moment <= event.moment + bounds.command + 4 * bounds.lag
        for event in events
    )


def falling_terms(terms: Sequence[Slot], events: Sequence[Event], bounds: Bounds) -> list[str]:
    """Each term that is not above all earlier ones of the same file."""
    slack = bounds.lag + SECOND // 5
    files = [event for event in events if event.what in FILE]
    cuts = [event for event in events if event.what in ("truncate", "garbage")]
    found = []
    # A leader that enters while the file is replaced may belong to either file: it is compared to none.
    edges = [0, *(event.moment for event in files), 1 << 63]
    for begin, end in itertools.pairwise(edges):
        greatest: Slot | None = None
        for slot in terms:
            if not begin + (slack if begin else 0) <= slot.entered <= end - slack:
                continue
            if greatest is not None and slot.term <= greatest.term:
                if not _was_cut(terms, cuts, slot) and not _is_dying(
                    slot, slot.entered, events, bounds
                ):
                    found.append(f"terms: {_name(slot)} began after {_name(greatest)}")
                greatest = slot
            elif greatest is None or slot.term > greatest.term:
                greatest = slot
    return found


def _was_cut(terms: Sequence[Slot], cuts: Sequence[Event], slot: Slot) -> bool:
    """Whether nobody had the time to mend the file after it was cut short or overwritten."""
    for event in cuts:
        if event.begun > slot.entered:
            continue
        before = [term for term in terms if term.entered <= event.moment]
        holder = before[-1] if before else None
        if holder is None or (holder.left and holder.left < event.begun):
            return True  # nobody held it
        if holder.left or holder.last > event.moment + SECOND:
            continue  # it has mended the file: at once, or at the release
        return True
    return False


def leaderless(terms: Sequence[Slot], end: int, bounds: Bounds) -> list[str]:
    """Each time without anybody leading that was too long, until the end of the faults."""
    limit = bounds.leaderless + 10 * bounds.lag + 5 * bounds.start
    found = []
    covered = terms[0].entered if terms else 0
    for slot in terms:
        if slot.entered - covered > limit:
            found.append(f"leaderless for {(slot.entered - covered) / 1e9:.1f} s")
        covered = max(covered, slot.last)
    if not terms or end - covered > limit:
        found.append(f"leaderless at the end, for {(end - covered) / 1e9:.1f} s")
    return found


def violations(slots: Sequence[Slot], events: Sequence[Event], end: int, bounds: Bounds) -> list[str]:
    """All that was wrong; empty if nothing was."""
    terms = terms_of(slots)
    return [
        *complaints(slots),
        *two_at_a_time(terms, events, bounds),
        *falling_terms(terms, events, bounds),
        *leaderless(terms, end, bounds),
    ]


def gaps(terms: Sequence[Slot]) -> list[int]:
    """How long nobody led, each time."""
    found, covered = [], None
    for slot in terms:
        if covered is not None and slot.entered > covered:
            found.append(slot.entered - covered)
        covered = slot.last if covered is None else max(covered, slot.last)
    return found
