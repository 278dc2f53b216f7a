"""Two tiers: a file elects one process of a machine, which holds the machine's only session."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leaderlock.engines.catalogue import engine_of
from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.history.fleet import history_in_engine
from leaderlock.lock.claim import read_claim
from leaderlock.lock.leader_lock import LeaderLock
from tests.fleet.servers import Server
from tests.processes import Child, until, until_parked

LEASE = 6.0
AT_ONCE = 3.0
"""Seconds: less than the rest of a lease after a renewal, even on a busy machine."""

PROGRAM = """
from leaderlock import Election
def task(leadership):
    print(f"leads {leadership.term} {time.monotonic()}")
    for _ in leadership.every(0.1):
        pass
election = Election(argv[0], lease=%r, within=argv[1])
candidate = election.start(task)
"""

ENGINES = ("local_postgresql", "local_zookeeper", "local_etcd", "local_redis")


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def url(server: Server, request: pytest.FixtureRequest) -> str:
    """An election of this test's own."""
    return f"{server.url()}-{abs(hash(request.node.name)) % 10**8}"


@contextmanager
def process(url: str, within: Path) -> Iterator[Child]:
    with Child(url, str(within)) as child:
        child.tell(PROGRAM % LEASE)
        yield child


def term_of(child: Child) -> tuple[int, float]:
    word, term, moment = child.line().split()
    assert word == "leads"
    return int(term), float(moment)


def engine(url: str) -> LeasedEngine:
    found = engine_of(url, LEASE)
    assert isinstance(found, LeasedEngine)
    return found


def leader_of(url: str) -> tuple[int, object]:
    session = engine(url).connect()
    try:
        standing = session.look()
    finally:
        session.close()
    return standing.term, None if standing.leader is None else standing.leader["pid"]


@pytest.mark.slow
def test_a_process_of_the_same_machine_takes_over_at_once(url: str, tmp_path: Path) -> None:
    within = tmp_path / "machine.lock"
    with process(url, within) as first:
        term, _ = term_of(first)
        with process(url, within) as second:
            until_parked(within, second.pid)
            killed = float(second.tell("time.monotonic()"))
            first.signal(signal.SIGKILL)
            next_term, began = term_of(second)
            assert next_term > term
            assert began - killed < AT_ONCE, "it waited for the end of the lease"
            assert leader_of(url) == (next_term, second.pid)
            second.tell("candidate.stop()")
        until(lambda: leader_of(url)[1] is None, "the resignation")


@pytest.mark.slow
def test_a_leader_that_stops_leaves_its_session_to_its_own_machine(url: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here.lock", tmp_path / "there.lock"
    with process(url, here) as leader:
        term, _ = term_of(leader)
        with process(url, there) as far, process(url, here) as near:
            until_parked(here, near.pid)
            leader.tell("candidate.stop()")
            next_term, _ = term_of(near)
            assert next_term > term
            ended = {t.term: t.ended for t in history_in_engine(url).terms}
            assert ended[term] == "resigned"
            assert far.tell("candidate.state") == "standby"
            near.tell("candidate.stop()")
            last_term, _ = term_of(far)
            assert last_term > next_term


def test_the_claim_lies_in_the_locked_file_and_is_gone_after_a_resignation(
    local_redis: Server, tmp_path: Path
) -> None:
    url, within = f"{local_redis.url()}-claim", tmp_path / "machine.lock"
    with process(url, within) as child:
        term_of(child)
        child.tell("from leaderlock.lock.claim import read_claim")
        assert child.tell("bool(read_claim(election.lock))")
        child.tell("candidate.stop()")
    lock = LeaderLock(within)
    with lock:
        assert read_claim(lock) is None


def test_a_file_that_is_replaced_ends_the_term(local_redis: Server, tmp_path: Path) -> None:
    url, within = f"{local_redis.url()}-replaced", tmp_path / "machine.lock"
    with process(url, within) as child:
        term, _ = term_of(child)
        within.unlink()
        again, _ = term_of(child)
        assert again > term
