"""A candidate's session in etcd: a key with a lease, put by a transaction.

The rules that make it safe:

- A renewal grants a new lease and puts the key with it, in a transaction that compares the key's value
  and its present lease. LeaseKeepAlive proves nothing: a member that was stopped has answered it for
  a key that was gone. The transaction needs a majority of the members.
- No lease is ever kept alive, so the end of each is known: the leader counts its lease from before the
  request that granted the lease which the key has.
- The comparison with the present lease makes a late copy of a transaction harmless: a member that was
  stopped may carry it out after others have carried out the next one.
- The term is the revision of the transaction that made the claim. Revisions rise with every change.
"""

from __future__ import annotations

import os
import time

from leaderlock.engines.etcd.candidacy import Candidacy
from leaderlock.engines.etcd.connection import Limit
from leaderlock.engines.etcd.gateway import Gateway
from leaderlock.engines.etcd.key import ElectionKey, has_lease, has_value
from leaderlock.engines.etcd.record import new_value
from leaderlock.engines.etcd.watch import Watch
from leaderlock.engines.leased.session import Claim, Standing
from leaderlock.engines.leased.waiting import CalledOff, Waiting
from leaderlock.errors import EngineUnreachable, LeadershipLost
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.engines.etcd.candidacy import Sighting
    from leaderlock.engines.etcd.connection import Connection
    from leaderlock.engines.etcd.key import Grant, Outcome
    from leaderlock.engines.leased.engine import LeasedEngine

_ADOPTIONS = 3
"""Earlier renewals with lost answers that one renewal may come upon."""

_LONGEST_FAREWELL = 1.0
"""Seconds that `close` takes at most to give an unused lease back."""


class EtcdSession:
    """See `leaderlock.engines.leased.session.Session`.

    No connection outlives a request or a wait.

    Args:
        engine: the engine.
        connection: makes a connection to a host, not open yet.
        sighting: the last renewal that this process has heard of.
    """

    def __init__(
        self, engine: LeasedEngine, connection: Callable[[str], Connection], sighting: Sighting
    ) -> None:
        self._engine = engine
        self._pid = os.getpid()
        self._gateway = Gateway(engine.location, connection)
        self._key = ElectionKey(self._gateway, engine.location.path, engine.address)
        keys = (self._key.name, self._key.heir)
        self._watch = Watch(self._gateway, connection, keys, engine.session)
        self._sighting = sighting
        self._waiting = Waiting()
        self._value = ""
        self._lease = ""  # the lease of the claim
        self._unused_lease = ""  # granted for a claim that is not known to stand

    def _limit(self, waiting: Waiting | None = None, most: float | None = None) -> Limit:
        """The time for what must end within a third of the lease."""
        seconds = self._engine.session / 3
        if most is not None:
            seconds = min(seconds, most)
        return Limit(waiting or self._waiting, time.monotonic() + seconds)

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise LeadershipLost(
                f"{self._engine.address}: process {os.getpid()} is a forked child of process "
                f"{self._pid}, to which the session belongs: stand anew in the child"
            )

    def acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """See `Session.acquire`."""
        self._require_own_process()
        if previous is not None:
            condition = has_value(str(previous.get("value", "")))
            claim = self._claim(waiting, condition, takes_over=True)
            if isinstance(claim, Claim):
                return claim
        candidacy = Candidacy(
            self._key,
            self._watch,
            self._sighting,
            self._engine.session,
            lambda: self._limit(waiting),
        )
        try:
            return self._stand(waiting, candidacy)
        except CalledOff:
            candidacy.leave(self._limit(most=_LONGEST_FAREWELL))
            raise
        finally:
            self._watch.close()

    def _stand(self, waiting: Waiting, candidacy: Candidacy) -> Claim:
        """Wait for the candidate's turn, and claim the key, until a claim stands."""
        candidacy.look()
        while True:
            began = time.monotonic()
            try:
                condition = candidacy.wait(waiting)
            except (OSError, ValueError) as error:
                log().info("%s: looking again: %s", self._engine.address, error)
                self._gateway.turn_to_next()
                waiting.sleep(began + self._engine.session / 10 - time.monotonic())
                candidacy.look()
                continue
            claim = self._claim(waiting, condition, takes_over=candidacy.has_waited)
            if isinstance(claim, Claim):
                return claim
            candidacy.refused(claim.holder)

    def _claim(
        self, waiting: Waiting, condition: Mapping[str, str], *, takes_over: bool
    ) -> Claim | Outcome:
        """Put the key with a new lease if the condition is met; otherwise return what was found."""
        limit = self._limit(waiting)
        value = new_value(self._engine.who())  # with a token that no other try has
        grant = self._grant(limit)
        self._unused_lease = grant.lease
        outcome = self._key.claim(value, grant.lease, limit, condition)
        holder = outcome.holder
        if outcome.succeeded:
            term = outcome.revision
        elif holder is not None and holder.value == value.encode():
            term = holder.revision  # a member has carried it out before, and did not answer in time
        else:
            self._give_unused_lease_back(limit)
            return outcome
        self._value, self._lease, self._unused_lease = value, grant.lease, ""
        self._warn_of_long_lease(grant)
        return Claim(term, grant.confirmed(self._engine.session), {"value": value}, takes_over)

    def _grant(self, limit: Limit) -> Grant:
        return self._key.grant(self._engine.session, limit)

    def _warn_of_long_lease(self, grant: Grant) -> None:
        if grant.seconds >= self._engine.session + 1:
            log().warning(
                "%s: the shortest lease of this etcd is %d s (it follows the election timeout): after "
                "a failure the next candidate leads that late, and not after %g s",
                self._engine.address,
                grant.seconds,
                self._engine.session,
            )

    def _give_unused_lease_back(self, limit: Limit) -> None:
        """So that a claim whose answer was lost keeps nobody waiting."""
        lease, self._unused_lease = self._unused_lease, ""
        if lease:
            self._key.revoke(lease, limit)

    def renew(self) -> float:
        """See `Session.renew`."""
        self._require_own_process()
        limit = self._limit()
        grant = self._grant(limit)
        old = self._put_with(grant.lease, limit)
        self._lease = grant.lease
        self._key.revoke(old, limit)
        return grant.confirmed(self._engine.session)

    def _put_with(self, lease: str, limit: Limit) -> str:
        """Put the key with another lease, and return the one that it had.

        Raises:
            LeadershipLost: the key is gone, or another claim has it.
        """
        present = self._lease
        for _ in range(_ADOPTIONS):
            outcome = self._key.put(
                self._value, lease, limit, has_value(self._value), has_lease(present)
            )
            holder = outcome.holder
            if outcome.succeeded:
                return present
            if holder is None:
                raise LeadershipLost("the key is gone: its lease has ended, or somebody has deleted it")
            if holder.value != self._value.encode():
                who = holder.leader() or {}
                raise LeadershipLost(
                    f"process {who.get('pid')} on {who.get('host')} has taken the key over"
                )
            if holder.lease == lease:  # a member has carried it out, and did not answer in time
                return present
            present = holder.lease  # of an earlier renewal, whose answer was lost
        raise EngineUnreachable(f"{self._engine.address}: the lease of the key changes all the time")

    def resign(self) -> None:
        """See `Session.resign`."""
        self._require_own_process()
        limit = self._limit()
        self._key.delete(limit, has_value(self._value))
        self._key.revoke(self._lease, limit)

    def leave(self) -> None:
        """See `Session.leave`; the key and its lease stay, and there is no connection to end."""

    def close(self) -> None:
        """See `Session.close`."""
        self._watch.close()
        if os.getpid() == self._pid:
            self._give_unused_lease_back(self._limit(most=_LONGEST_FAREWELL))

    def read(self, note: str) -> bytes | None:
        """See `Session.read`."""
        return self._key.read_note(note, self._limit())

    def write(self, note: str, content: bytes) -> None:
        """See `Session.write`."""
        self._key.write_note(note, content, self._limit())

    def look(self) -> Standing:
        """See `Session.look`; etcd does not tell how many candidates watch a key."""
        limit = self._limit()
        holder, term, *_ = self._key.scene(limit)
        if holder is None:
            return Standing(term, None, None, None)
        self._key.require_ours(holder)
        return Standing(term, holder.leader(), self._key.seconds_left(holder.lease, limit), None)
