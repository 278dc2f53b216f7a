"""`Candidacy`: when a waiting candidate tries to be elected, by what it hears from the server.

A living leader's renewals wake nobody, unless the server tells of expired keys too late or not at all.
Then the leader's beats, as messages, move a timer.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from leaderlock.engines.leased.turns import Turns
from leaderlock.kernel.arguments import whole_number

LATE = 0.02
"""Seconds after the end of a lease at which a candidate with a timer tries to be elected."""

SLICE = 600.0
"""Seconds after which a candidate looks again even though no event has come: somebody may have cleared
the database, or changed the server's settings, in the very second in which the leader died."""


class Attempt(NamedTuple):
    """The answer of the script `ATTEMPT`.

    Attributes:
        is_elected: 1 if the candidate was elected.
        term: the latest term.
        left: milliseconds until the next try, if the candidate waits by a timer.
        time: the server's time, in milliseconds since the epoch.
        flag: of an elected candidate: whether another one led; of others: whether to wait by a timer.
        heir: the heir's ticket, or nothing.
    """

    is_elected: int
    term: int
    left: int
    time: int
    flag: int
    heir: bytes


class Candidacy:
    """One candidate's wait.

    Args:
        lease: seconds.
    """

    def __init__(self, lease: float) -> None:
        self._turns = Turns()
        self._lease = lease
        self._end = 0.0  # CLOCK_MONOTONIC at which the leader's time ends
        self._began = time.monotonic()  # of the time without an heir
        self._has_offered = False

    @property
    def ticket(self) -> str:
        """The ticket of this candidate."""
        return self._turns.ticket

    @property
    def is_heir(self) -> bool:
        """Whether this candidate is the heir."""
        return self._turns.is_heir

    def due(self) -> float:
        """CLOCK_MONOTONIC at which this candidate tries to be elected."""
        return self._end + self._turns.pause(self._lease)

    def offer_due(self) -> float:
        """CLOCK_MONOTONIC at which this candidate offers itself as the heir; or infinite."""
        return math.inf if self._has_offered else self._began + self._turns.offer(self._lease)

    def offered(self) -> None:
        """The offer has been made; the server tells everybody who the heir is."""
        self._has_offered = True

    def tried(self, attempt: Attempt) -> None:
        """The server has answered to a try."""
        self._end = time.monotonic() + (attempt.left / 1000 + LATE if attempt.flag else SLICE)
        self._turns.heir = attempt.heir.decode(errors="replace")

    def hear(self, message: bytes) -> None:
        """A message of the channel, or an event of the alarm."""
        now = time.monotonic()
        what, _, rest = message.decode(errors="replace").partition(":")
        if what in {"free", "expired", "evicted"}:
            self._end = min(self._end, now)
        elif (seconds := _seconds(what)) is not None:  # a beat: the leader's lease
            self._end = now + seconds + LATE
        elif what == "elected":
            lease, _, by_timer = rest.partition(":")
            self._end = now  # unless the leader tells its lease, this candidate looks
            if (seconds := _seconds(lease)) is not None:
                self._end += seconds + LATE if by_timer == "1" else SLICE
            self._begin(now)
        elif what == "heir":
            if not rest:
                self._begin(now)
            self._turns.heir = rest

    def _begin(self, now: float) -> None:
        self._turns.draw()
        self._began = now
        self._has_offered = False


def _seconds(text: str) -> float | None:
    """Seconds of a lease in milliseconds; at most a slice, since anybody may have published it."""
    number = whole_number(text, round(SLICE * 1000))
    return None if number is None else number / 1000
