"""The interface between a leased tenure and one engine's client: claim, renew, give up.

One rule makes a lease safe: the lease runs from the moment at which the *request* of a renewal was
sent, and only an answer that proves the claim renews the lease. The engine counts the lease from the
arrival of that request, so the engine's end of the lease is later than the leader's own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.engines.leased.waiting import Waiting


class Claim(NamedTuple):
    """What a session has after its election.

    Attributes:
        term: the fencing token; it rises with every election, whatever happens to the engine.
        confirmed: CLOCK_MONOTONIC when the request that made the claim was sent.
        proof: texts and numbers by which the next process on this machine takes the session over.
        takes_over: whether another candidate led until this election.
    """

    term: int
    confirmed: float
    proof: Mapping[str, str | int]
    takes_over: bool


class Standing(NamedTuple):
    """An election as the engine shows it, to any client.

    Attributes:
        term: the latest term; 0 before the first one.
        leader: the leader's own description (`Session.who`); None without a leader.
        ends: seconds until the engine may drop the leader, unless the leader renews; None if the
            engine does not tell.
        waiting: number of candidates that wait; None if the engine does not tell.
    """

    term: int
    leader: Mapping[str, str | int | float] | None
    ends: float | None
    waiting: int | None


class Traits(NamedTuple):
    """An engine's characteristics, in sentences for people; `leaderlock doctor URL` prints them.

    Attributes:
        frees: the events that end a leader's term.
        speed: the time until the next leader, for each of these events.
        clock: the clocks that the election trusts.
        limits: the cases that the engine cannot protect from.
    """

    frees: str
    speed: str
    clock: str
    limits: str


class Session(Protocol):
    """One connection to an engine, for one candidate; made in the process that uses it.

    At most one thread at a time calls a session's methods. Each call, except `acquire`, returns or
    raises within a third of the lease. An error other than those that are named means "not known":
    the caller tries again while the lease lasts, so the next call must connect anew if necessary.
    """

    def acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """Wait until elected. The wait costs the engine no queries.

        It costs the process no wakeups either, where the engine itself knows when a leader's time is
        over; otherwise one for each renewal of the leader.

        Args:
            waiting: every pause and every wait for a descriptor goes through this object.
            previous: the proof of a claim whose process is dead, known by this machine's kernel:
                take over at once, if the claim still stands; otherwise queue up like others.

        Raises:
            CalledOff: by `waiting`; the session has then left the queue, or `close` does so.
            EngineUnreachable: the engine does not answer, or the connection broke.
            EngineUnusable: the engine refuses.
        """

    def renew(self) -> float:
        """Prove the claim, and renew it.

        Returns:
            CLOCK_MONOTONIC when the request of this renewal was sent.

        Raises:
            LeadershipLost: the engine says that the claim does not stand any more.
        """

    def resign(self) -> None:
        """End the claim: the next candidate leads at once. Nothing happens if it has ended."""

    def leave(self) -> None:
        """Let the claim stand until its lease ends, for `previous` of another process."""

    def close(self) -> None:
        """Close the connections, in any state. A claim is not given up, a place in a queue is."""

    def read(self, note: str) -> bytes | None:
        """A note of the election (`history`, `request`), or None; any client may read."""

    def write(self, note: str, content: bytes) -> None:
        """Write a note of the election; any client may write."""

    def look(self) -> Standing:
        """Who leads, by a client that may not stand itself."""
