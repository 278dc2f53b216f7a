"""The order in which waiting candidates try to lead, so that the end of a leader wakes no herd.

An engine without a queue tells all candidates at once that the leader has gone. If each of them tried
to lead, an election of a thousand candidates would cost thousands of requests. So they take turns:

- One candidate is the *heir*, and tries at once. The engine keeps the heir's ticket as a note, and
  tells the others of changes.
- The others wait for a random time, and give up as soon as they hear of the new leader. The density of
  the time is an exponential function (Nonnenmacher and Biersack, "Optimal multicast feedback", 1998):
  of any number of candidates, only a few try before they hear of the first one.
- After the election the candidates draw lots in the same way, over a longer time, and the first one
  leaves its ticket as the next heir.

If the heir has died, the others come later by these parts of a lease. Nothing is decided here: the
engine decides.
"""

from __future__ import annotations

import math
import os

_MANY = 100_000
"""Candidates for which the times are chosen: more only means more requests."""

_SPREAD = 0.025
"""The part of a lease over which the tries of the candidates that are not the heir are spread."""

_HEAD_START = 0.015
"""The part of a lease by which all others come later if there is an heir."""

_DRAWING = 0.5
"""The part of a lease within which a candidate offers itself as the heir."""


class Turns:
    """One candidate's turn, and what it knows of the heir.

    Attributes:
        ticket: names this candidate, and only this one.
        heir: the heir's ticket; empty if the candidate knows of none.
    """

    def __init__(self) -> None:
        self.ticket = os.urandom(16).hex()
        self.heir = ""
        self._part = _drawn()

    @property
    def is_heir(self) -> bool:
        """Whether this candidate is the heir."""
        return self.heir == self.ticket

    def draw(self) -> None:
        """A new term has begun: the heir leads, or has died, and each candidate draws anew."""
        self.heir = ""
        self._part = _drawn()

    def pause(self, lease: float) -> float:
        """Seconds from a leader's end to this candidate's try."""
        if self.is_heir:
            return 0.0
        return ((_HEAD_START if self.heir else 0.0) + self._part * _SPREAD) * lease

    def offer(self, lease: float) -> float:
        """Seconds from the beginning of a term to this candidate's offer; or infinite."""
        return math.inf if self.heir else self._part * _DRAWING * lease


def _drawn() -> float:
    chance = (int.from_bytes(os.urandom(6), "big") + 1) / 2**48  # the module random is 3 MB
    return max(1 + math.log(chance) / math.log(_MANY), 0.0)
