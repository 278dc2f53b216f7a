"""The status of an election in an engine, as any client of the engine sees it."""

from __future__ import annotations

from typing import NamedTuple

from leaderlock.engines.catalogue import leased_engine_of
from leaderlock.lock.record import moment_or_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Standing


class LeaderFacts(NamedTuple):
    """A leader's description of itself; None for a fact that is missing.

    Attributes:
        pid: the process ID in the leader's own PID namespace.
        host: the leader's host name.
        since: the time of the election by the leader's clock, in seconds since the epoch.
        lease: seconds after the last confirmed renewal at which the leader is dead.
    """

    pid: int | None
    host: str | None
    since: float | None
    lease: float | None


class ElectionStatus(NamedTuple):
    """An election in an engine.

    Attributes:
        address: the URL, without any password.
        term: the latest term, the fencing token; 0 before the first one.
        leader: None if nobody leads.
        ends: seconds until the engine may drop the leader, unless the leader renews; None if the
            engine does not tell.
        waiting: number of candidates that wait; None if the engine does not tell.
    """

    address: str
    term: int
    leader: LeaderFacts | None
    ends: float | None
    waiting: int | None

    def as_json(self) -> dict[str, Any]:
        """The election in the document of ``leaderlock status --json``."""
        leader = None if self.leader is None else self.leader._asdict()
        return {**self._asdict(), "leader": leader}


def status_of_election(url: str) -> ElectionStatus:
    """Ask the engine of a URL who leads; no candidate is disturbed.

    Raises:
        ValueError: the URL is incomplete.
        EngineUnusable: the engine refuses, or does not answer.
        Unsupported: there is no engine for the URL, or its client is not installed.
    """
    engine = leased_engine_of(url, without="does not tell who leads")
    session = engine.connect()
    try:
        return status_from(engine, session.look())
    finally:
        session.close()


def status_from(engine: LeasedEngine, standing: Standing) -> ElectionStatus:
    """The status that an engine's answer means."""
    leader = None
    if standing.leader is not None:
        pid, host = standing.leader.get("pid"), standing.leader.get("host")
        leader = LeaderFacts(
            pid if isinstance(pid, int) else None,
            host if isinstance(host, str) else None,
            moment_or_none(standing.leader.get("since")),
            moment_or_none(standing.leader.get("lease")),
        )
    return ElectionStatus(engine.address, standing.term, leader, standing.ends, standing.waiting)
