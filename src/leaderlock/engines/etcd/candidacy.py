"""`Candidacy`: one candidate's wait in etcd, until it may try to lead.

A renewal is a change of the key, of which etcd tells the candidates. A candidate counts the leader's
lease by its own clock, from the moment at which it has heard of the last renewal, and then puts the key
itself, if nobody has changed the key since that renewal. This is safe:

- The leader sent the renewal before the candidate could hear of it. So the leader's deadline, which
  runs from the sending, comes before the end of the candidate's count.
- A later renewal, of which the candidate has not heard, has changed the key. So the transaction fails,
  on whichever member, and however late a member carries it out.
- A candidate that is stopped meanwhile counts for longer, and not for shorter.

etcd itself deletes the key too, up to half a second after the end of the lease, since it looks twice a
second for leases that have ended. That alone decides where nobody has heard a renewal.
"""

from __future__ import annotations

import math
import time

from leaderlock.engines.etcd.key import FREE, has_revision
from leaderlock.engines.leased.turns import Turns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.engines.etcd.connection import Limit
    from leaderlock.engines.etcd.key import ElectionKey
    from leaderlock.engines.etcd.record import Holding
    from leaderlock.engines.etcd.watch import Event, Watch
    from leaderlock.engines.leased.waiting import Waiting

_MARGIN = 1.02
"""Leases that a candidate counts. Its clock may be one percent fast by etcd's, and the leader's one
percent slow: the leader is dead after 0.98 leases of etcd's, and the count ends after 1.01 of them."""


class Sighting:
    """The last renewal that this process has heard of, also over new connections; for any thread."""

    def __init__(self) -> None:
        self._last: tuple[bytes, int, float] = (b"", 0, 0.0)

    def moment_of(self, holder: Holding) -> float:
        """CLOCK_MONOTONIC when this process heard of the renewal that the key shows; or now."""
        value, revision, moment = self._last
        if (value, revision) != (holder.value, holder.revision):
            moment = time.monotonic()
            self._last = (holder.value, holder.revision, moment)
        return moment


class Candidacy:
    """Waits for this candidate's turn.

    Args:
        key: the election.
        watch: of the election's key and of the heir's note; not open.
        sighting: of the process.
        lease: the candidate's own lease, in seconds.
        limit: the time that a request may take from now on.

    Attributes:
        has_waited: whether another candidate led until now.
    """

    def __init__(
        self,
        key: ElectionKey,
        watch: Watch,
        sighting: Sighting,
        lease: float,
        limit: Callable[[], Limit],
    ) -> None:
        self.has_waited = False
        self._key = key
        self._watch = watch
        self._sighting = sighting
        self._lease = lease
        self._limit = limit
        self._turns = Turns()
        self._holder: Holding | None = None
        self._heard = 0.0  # CLOCK_MONOTONIC of the last renewal
        self._gone = 0.0  # and of the key's end
        self._began = 0.0  # and of the beginning of the term, or of the time without an heir
        self._has_offered = False
        self._heirs_revision = 0
        self._next_revision = 0

    def look(self) -> None:
        """See who leads, and who is the heir."""
        self._watch.close()
        holder, term, heir, revision = self._key.scene(self._limit())
        self._next_revision = revision + 1
        self._see(holder)
        self._gone = 0.0  # a key that a newcomer finds free is free for long
        self._begin_term()
        if heir is not None:
            self._heirs_revision = heir.revision
            if heir.revision > term:
                self._turns.heir = heir.value.decode(errors="replace")

    def _see(self, holder: Holding | None) -> None:
        """The key is, or was a moment ago, like this."""
        before, self._holder = self._holder, holder
        if holder is None:
            self._gone = time.monotonic()
            return
        self._key.require_ours(holder)
        self.has_waited = True
        self._heard = self._sighting.moment_of(holder)
        if before is None or before.value != holder.value:
            self._begin_term()

    def _begin_term(self) -> None:
        self._turns.draw()
        self._began = time.monotonic()
        self._has_offered = False

    def wait(self, waiting: Waiting) -> Mapping[str, str]:
        """Wait until it is this candidate's turn; return the condition under which it may lead.

        Raises:
            CalledOff: by `waiting`.
            EngineUnreachable, EngineUnusable: see `Session.acquire`.
            OSError, ValueError: the watch broke, or has ended.
        """
        while (due := self._due()) > time.monotonic():
            if not self._watch.is_open:
                self._watch.open(self._next_revision, self._limit())
            offer = math.inf
            if self._holder is not None and not self._has_offered:
                offer = self._began + self._turns.offer(self._lease)
            for event in self._watch.events(waiting, min(due, offer)):
                self._take(event)
            if offer <= time.monotonic() and not self._turns.heir:
                self._has_offered = True
                self._key.offer(self._turns.ticket, self._limit(), self._heirs_revision)
        return FREE if self._holder is None else has_revision(self._holder.revision)

    def _due(self) -> float:
        """CLOCK_MONOTONIC at which this candidate tries to lead."""
        pause = self._turns.pause(self._lease)
        if self._holder is None:
            return self._gone + pause
        return self._heard + self._holder.leaders_lease() * _MARGIN + pause

    def _take(self, event: Event) -> None:
        if event.key == self._key.name:
            self._see(event.holding)
        elif event.holding is None:
            self._begin_term()  # the heir has gone
        else:
            self._heirs_revision = event.holding.revision
            self._turns.heir = event.holding.value.decode(errors="replace")

    def refused(self, holder: Holding | None) -> None:
        """The condition was not met: the key was like this."""
        if self._holder is None and self._watch.is_open:
            self._see(holder)
        else:  # the watch has missed a renewal, or there is none
            self.look()

    def leave(self, limit: Limit) -> None:
        """Stop waiting: another candidate may be the heir."""
        self._watch.close()
        if self._turns.is_heir:
            self._key.withdraw(self._turns.ticket, limit)
