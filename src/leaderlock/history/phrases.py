"""A term in words: its leader, its length, its end, and the time without a leader before it."""

from __future__ import annotations

from leaderlock.wording import duration, moment, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history.reading import Term

HEADINGS = ("term", "leader", "start", "length", "ended", "gap before")
"""Of a table of terms, whose rows are those of `row_of`."""


def row_of(term: Term, now: float) -> tuple[str, ...]:
    """The cells of a term, one for each of `HEADINGS`."""
    return (
        str(term.term),
        leader_of(term),
        moment(term.since),
        length_of(term, now),
        ending_of(term),
        gap_before(term),
    )


def leader_of(term: Term) -> str:
    """The leader of a term: ``417 on web-1``."""
    return f"{term.pid} on {printable(term.host)}"


def length_of(term: Term, now: float) -> str:
    """The length of a term, as far as known."""
    if term.ended is None:
        return duration(max(now - term.since, 0.0))
    if term.until is not None:
        return duration(max(term.until - term.since, 0.0))
    known = term.last_sign - term.since
    return f"> {duration(known)}" if known > 0 else "unknown"


def ending_of(term: Term) -> str:
    """How a term ended; ``leads`` while the term lasts."""
    return term.ended or "leads"


def gap_before(term: Term) -> str:
    """The time without a leader before a term, as far as known."""
    if term.gap is not None:
        return duration(term.gap) if term.gap else "none"
    if term.gap_at_most is not None:
        return f"< {duration(term.gap_at_most)}"
    return "–" if term.term == 1 else "unknown"
