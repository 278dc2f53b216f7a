"""Elections in ZooKeeper: one server, its sessions and nodes, and what it refuses."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from kazoo.client import KazooClient

from leaderlock import LeadershipLost
from leaderlock.engines import CalledOff, Claim, LeasedEngine, Session, Standing, Waiting, engine_of
from leaderlock.kernel.wait import Wait
from tests.fleet.servers import ZooKeeper
from tests.processes import PATIENCE, until

LEASE = 3.0

_names = itertools.count()


@contextlib.contextmanager
def raw(server: ZooKeeper, **options: Any) -> Iterator[KazooClient]:
    """Another program's client."""
    client = KazooClient(f"{server.address()}:{server.port}", **options)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


class Candidates:
    """Sessions of one election, which are closed in the end."""

    def __init__(self, url: str, lease: float = LEASE) -> None:
        engine = engine_of(url, lease)
        assert isinstance(engine, LeasedEngine)
        self.engine = engine
        self.url = url
        self._sessions: list[Session] = []

    def session(self) -> Session:
        session = self.engine.connect()
        self._sessions.append(session)
        return session

    def lead(self, previous: Mapping[str, str | int] | None = None) -> tuple[Session, Claim]:
        """A session that is elected at once."""
        session = self.session()
        return session, acquire(session, Waiting(None, 0), previous)

    def look(self) -> Standing:
        session = self.engine.connect()
        try:
            return session.look()
        finally:
            session.close()

    def close(self) -> None:
        for session in self._sessions:
            session.close()


def acquire(
    session: Session, waiting: Waiting, previous: Mapping[str, str | int] | None = None
) -> Claim:
    return waiting.run(lambda: session.acquire(waiting, previous))


class Standby:
    """A session that waits in a thread.

    Attributes:
        result: the claim, or an error.
        at: when the wait ended, as CLOCK_MONOTONIC.
    """

    def __init__(self, candidates: Candidates) -> None:
        before = candidates.look().waiting or 0
        self.session = candidates.session()
        self.wait = Wait()
        self.result: Claim | BaseException | None = None
        self.at = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        until(lambda: self.result is not None or (candidates.look().waiting or 0) > before)

    def _run(self) -> None:
        try:
            self.result = acquire(self.session, Waiting(self.wait))
        except BaseException as error:  # noqa: BLE001  (the test's thread looks at it)
            self.result = error
        self.at = time.monotonic()

    def claim(self) -> Claim:
        self._thread.join(PATIENCE)
        assert isinstance(self.result, Claim), self.result
        return self.result

    def cancel(self) -> BaseException:
        self.wait.cancel()
        self._thread.join(PATIENCE)
        assert isinstance(self.result, BaseException), self.result
        return self.result


@pytest.fixture
def make(local_zookeeper: ZooKeeper) -> Iterator[Callable[..., Candidates]]:
    """Makes the candidates of an election of its own."""
    made: list[Candidates] = []

    def candidates(url: str = "", lease: float = LEASE) -> Candidates:
        made.append(Candidates(url or local_zookeeper.url(f"test{next(_names)}"), lease))
        return made[-1]

    yield candidates
    for each in made:
        each.close()


@pytest.fixture
def candidates(make: Callable[[], Candidates]) -> Candidates:
    return make()


def test_one_leads_and_the_next_takes_over_at_a_resignation(candidates: Candidates) -> None:
    first, claim = candidates.lead()
    assert not claim.takes_over
    second = Standby(candidates)
    third = Standby(candidates)
    assert candidates.look().waiting == 2
    before = time.monotonic()
    first.resign()
    assert second.claim().takes_over
    assert second.at - before < LEASE / 2
    assert second.claim().term > claim.term
    assert third.result is None
    second.session.resign()
    assert third.claim().term > second.claim().term


def test_a_confirmed_write_renews_the_lease_from_its_sending(candidates: Candidates) -> None:
    session, claim = candidates.lead()
    before = time.monotonic()
    sent = session.renew()
    assert claim.confirmed <= before <= sent <= time.monotonic()
    assert session.renew() > sent


def test_whoever_looks_sees_the_leader_the_term_and_the_waiters(candidates: Candidates) -> None:
    assert candidates.look() == Standing(0, None, None, 0)
    session, claim = candidates.lead()
    standing = candidates.look()
    assert standing.term == claim.term
    assert standing.leader is not None
    assert standing.leader["pid"] == os.getpid()
    assert standing.waiting == 0
    session.renew()
    assert candidates.look() == standing
    session.resign()
    assert candidates.look() == Standing(claim.term, None, None, 0)


def test_a_cancelled_wait_leaves_the_queue(candidates: Candidates) -> None:
    candidates.lead()
    second = Standby(candidates)
    third = Standby(candidates)
    assert isinstance(second.cancel(), CalledOff)
    second.session.close()
    assert candidates.look().waiting == 1
    assert third.result is None


def test_without_a_wait_the_second_candidate_gives_up_at_once(candidates: Candidates) -> None:
    candidates.lead()
    session = candidates.session()
    with pytest.raises(CalledOff):
        acquire(session, Waiting(None, 0))
    session.close()
    assert candidates.look().waiting == 0


def test_any_client_reads_and_writes_notes(candidates: Candidates) -> None:
    visitor = candidates.session()
    assert visitor.read("history") is None
    visitor.write("history", b"one")
    leader, _ = candidates.lead()
    assert leader.read("history") == b"one"
    leader.write("history", b"two")
    assert visitor.read("history") == b"two"


def test_a_session_that_was_left_is_taken_over_at_once(candidates: Candidates) -> None:
    session, claim = candidates.lead()
    waiting = Standby(candidates)
    session.leave()
    session.close()
    _, taken = candidates.lead(claim.proof)
    assert taken.takes_over
    assert taken.term > claim.term
    assert waiting.result is None
    assert candidates.look().waiting == 1


def test_a_leader_whose_node_was_taken_over_has_lost(candidates: Candidates) -> None:
    session, claim = candidates.lead()
    successor, _ = candidates.lead(claim.proof)
    with pytest.raises(LeadershipLost, match="another process"):
        until(lambda: renewed(session) is None)
    successor.renew()


def renewed(session: Session) -> float | None:
    """The result of a renewal; None if the connection changed meanwhile."""
    try:
        return session.renew()
    except LeadershipLost:
        raise
    except Exception:  # noqa: BLE001  (not known: the caller tries again)
        return 0.0


def test_a_leader_whose_node_was_deleted_has_lost(
    candidates: Candidates, local_zookeeper: ZooKeeper
) -> None:
    session, claim = candidates.lead()
    with raw(local_zookeeper) as client:
        client.delete(claim.proof["node"])
    with pytest.raises(LeadershipLost, match="deleted"):
        session.renew()
