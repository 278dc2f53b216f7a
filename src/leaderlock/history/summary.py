"""The history of a lock, summed up in a few numbers."""

from __future__ import annotations

import itertools
import time
from collections import Counter

from leaderlock.history.phrases import gap_before
from leaderlock.wording import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history.reading import History, Term


_IN_ORDER = ("resigned", "released", "exited")


class Summary:
    """The sums over some terms of a lock.

    Attributes:
        terms: the number of terms.
        failovers: how often the leadership passed on: the number of terms that followed another one.
            A released term after another released term does not count, as nothing fails where each
            waiter releases a `LeaderLock` in turn (the waiters of `call_once`).
        endings: the number of finished terms by the way they ended.
        longest_gap: the term with the longest leaderless time before it; None where no gap is known.
        leaderless_least, leaderless_most: bounds of the share of the time without a leader, from the
            first term until now, or until the last leader gave up in good order. There are two bounds
            since the exact moment of some leaders' death is unknown.
    """

    def __init__(self, history: History, now: float | None = None) -> None:
        now = time.time() if now is None else now
        terms = history.terms
        self.terms = len(terms)
        self.failovers = sum(
            not before.ended == term.ended == "released" for before, term in itertools.pairwise(terms)
        )
        self.endings = Counter(term.ended for term in terms if term.ended)
        known = [term for term in terms[1:] if _longest(term) is not None]
        self.longest_gap = max(known, key=lambda term: _longest(term) or 0.0, default=None)
        self.leaderless_least, self.leaderless_most = _shares(terms, now)

    def as_text(self) -> str:
        """The summary in one line."""
        parts = [_count(self.terms, "term"), _count(self.failovers, "failover")]
        if self.longest_gap is not None:
            parts.append(f"longest gap {gap_before(self.longest_gap)}")
        if self.terms:
            parts.append(f"{self.share()} of the time without a leader")
        return ", ".join(parts)

    def share(self) -> str:
        """The share of the time without a leader, in per cent."""
        least, most = _percent(self.leaderless_least), _percent(self.leaderless_most)
        return f"{least} %" if least == most else f"{least} to {most} %"


def leaderless_since(history: History, now: float) -> str | None:
    """The time without a leader until now, as far as known; None if one leads, or none ever led."""
    last = history.terms[-1] if history.terms else None
    if last is None or last.ended is None:
        return None
    if last.until is not None:
        return duration(max(now - last.until, 0.0))
    return f"< {duration(max(now - last.last_sign, 0.0))}"


def _longest(term: Term) -> float | None:
    return term.gap if term.gap is not None else term.gap_at_most


def _shares(terms: list[Term], now: float) -> tuple[float, float]:
    if terms and terms[-1].ended in _IN_ORDER and terms[-1].until is not None:
        now = terms[-1].until  # the time after a service was stopped on purpose does not count
    if not terms or now <= terms[0].since:
        return 0.0, 0.0
    span = now - terms[0].since
    least = sum(term.gap or 0.0 for term in terms[1:])
    led = sum(max(term.last_sign - term.since, 0.0) for term in terms[:-1])
    last = terms[-1]
    if last.ended is None:
        led += max(now - last.since, 0.0)
    else:
        led += max(last.last_sign - last.since, 0.0)
        least += max(now - last.until, 0.0) if last.until is not None else 0.0
    least = min(max(least / span, 0.0), 1.0)
    return least, max(min(max(1 - led / span, 0.0), 1.0), least)


def _percent(share: float) -> str:
    if 0 < share < 0.0001:
        return "< 0.01"
    return f"{share * 100:.2f}".rstrip("0").rstrip(".")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
