"""Elections in one real ZooKeeper: nodes and sessions, the queue, the term and the notes."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock import EngineUnreachable, EngineUnusable, LeadershipLost
from leaderlock.engines import CalledOff, Session, Standing, Waiting
from leaderlock.engines.zookeeper import timing
from tests.fleet.servers import ZooKeeper
from tests.fleet.sessions import Sessions, acquire
from tests.fleet.zookeeper_client import other_client
from tests.processes import Child, forked, until

LEASE = 3.0

_names = itertools.count()


@pytest.fixture
def make(local_zookeeper: ZooKeeper) -> Iterator[Callable[..., Sessions]]:
    """Makes the sessions of an election of its own."""
    made: list[Sessions] = []

    def sessions(lease: float = LEASE) -> Sessions:
        url = local_zookeeper.url(f"test{next(_names)}")
        made.append(Sessions(url, lease, lambda: 0))
        visitor = made[-1].session()
        made.append(Sessions(url, lease, lambda: visitor.look().waiting or 0))
        return made[-1]

    yield sessions
    for each in reversed(made):
        each.close()


@pytest.fixture
def sessions(make: Callable[..., Sessions]) -> Sessions:
    return make()


def renew(session: Session) -> float:
    """A renewal that goes on until its result is known."""
    while True:
        try:
            return session.renew()
        except EngineUnreachable:
            continue


# One leads.


def test_one_leads_and_the_next_takes_over_at_a_resignation(sessions: Sessions) -> None:
    first, claim = sessions.lead()
    assert not claim.takes_over
    second, third = sessions.standby(), sessions.standby()
    before = time.monotonic()
    first.resign()
    assert second.claim().takes_over
    assert second.at - before < LEASE / 2
    assert second.claim().term > claim.term
    assert third.result is None
    second.session.resign()
    assert third.claim().term > second.claim().term


def test_a_leader_that_ends_without_a_word_is_followed_after_its_lease(sessions: Sessions) -> None:
    leader, _ = sessions.lead()
    standby = sessions.standby()
    confirmed = leader.renew()
    leader.close()
    assert standby.claim().takes_over
    longest = timing.session_for(LEASE, ZooKeeper.tick) + ZooKeeper.tick
    assert confirmed + LEASE < standby.at < confirmed + longest + 2  # a busy machine


def test_a_lease_runs_from_before_the_request_and_is_renewed(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    before = time.monotonic()
    confirmed = leader.renew()
    assert claim.confirmed < before <= confirmed <= time.monotonic()
    assert sessions.look().term == claim.term


def test_whoever_looks_sees_the_leader_the_term_and_the_waiters(sessions: Sessions) -> None:
    assert sessions.look() == Standing(0, None, None, 0)
    leader, claim = sessions.lead()
    standing = sessions.look()
    assert standing.term == claim.term
    assert standing.leader is not None
    assert standing.leader["pid"] == os.getpid()
    assert standing.waiting == 0
    leader.renew()
    sessions.standby()
    assert sessions.look() == standing._replace(waiting=1)


def test_the_last_term_is_known_when_nobody_leads(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    leader.resign()
    leader.resign()  # changes nothing
    assert sessions.look() == Standing(claim.term, None, None, 0)


def test_any_client_reads_and_writes_notes(sessions: Sessions) -> None:
    visitor = sessions.session()
    assert visitor.read("history") is None
    visitor.write("history", b"one")
    leader, _ = sessions.lead()
    assert leader.read("history") == b"one"
    leader.write("history", b"two")
    assert visitor.read("history") == b"two"
    assert sessions.look().waiting == 0


# The queue.


def test_a_cancelled_wait_leaves_the_queue(sessions: Sessions) -> None:
    leader, _ = sessions.lead()
    second, third = sessions.standby(), sessions.standby()
    assert isinstance(second.cancel(), CalledOff)
    second.session.close()
    assert sessions.look().waiting == 1
    assert third.result is None
    leader.resign()
    third.claim()


def test_without_a_wait_the_second_candidate_gives_up_at_once(sessions: Sessions) -> None:
    sessions.lead()
    session = sessions.session()
    with pytest.raises(CalledOff):
        acquire(session, Waiting(None, 0))
    session.close()
    assert sessions.look().waiting == 0


def requests(session: Session) -> int:
    """The number of requests, without pings, on the session's connection."""
    return int(session._connection._client._connection._xid)  # type: ignore[attr-defined]


def test_a_waiter_sends_nothing_while_others_lead_renew_and_follow(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    def watches() -> int:
        (count,) = (w for w in local_zookeeper.ask("mntr").splitlines() if "zk_watch_count" in w)
        return int(count.split()[1])

    before = watches()
    leader, _ = sessions.lead()
    second, third, fourth = (sessions.standby() for _ in range(3))
    until(lambda: watches() == before + 3, "one watch of each")
    sent = [requests(each.session) for each in (second, third, fourth)]
    for _ in range(5):
        leader.renew()
    leader.resign()
    second.claim()
    # It asks whether the one before it has gone, and who is first, and begins its term.
    assert requests(second.session) == sent[0] + 3
    for _ in range(5):
        second.session.renew()
    second.session.resign()
    third.claim()
    assert requests(third.session) == sent[1] + 3
    assert requests(fourth.session) == sent[2]


def test_a_waiter_whose_node_was_deleted_does_not_lead(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    leader, _ = sessions.lead()
    second, third = sessions.standby(), sessions.standby()
    with other_client(local_zookeeper) as client:
        *_, of_second, _ = sorted(client.get_children(sessions.engine.name))
        client.delete(f"{sessions.engine.name}/{of_second}")
    leader.resign()
    third.claim()
    second.join()
    assert isinstance(second.result, LeadershipLost)


def test_a_restart_of_the_server_changes_neither_the_leader_nor_the_queue(
    make: Callable[..., Sessions], local_zookeeper: ZooKeeper
) -> None:
    sessions = make(lease=7.0)
    leader, claim = sessions.lead()
    second, third = sessions.standby(), sessions.standby()
    local_zookeeper.restart()
    renew(leader)
    assert sessions.look().term == claim.term
    assert second.result is third.result is None
    leader.resign()
    assert second.claim().term > claim.term
    second.session.resign()
    third.claim()


def test_a_waiter_whose_session_has_ended_says_so(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    sessions.lead()
    standby = sessions.standby()
    connection = standby.session._connection  # type: ignore[attr-defined]
    with other_client(local_zookeeper, client_id=connection.identity):
        pass  # ends the session
    standby.join()
    assert isinstance(standby.result, LeadershipLost)


# What ends a claim, and what does not.


def test_a_leader_whose_node_was_deleted_has_lost(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    leader, claim = sessions.lead()
    with other_client(local_zookeeper) as client:
        client.delete(claim.proof["node"])
    with pytest.raises(LeadershipLost, match="deleted"):
        leader.renew()
    leader.resign()  # changes nothing


def test_a_leader_whose_session_has_ended_has_lost(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    leader, claim = sessions.lead()
    identity = (claim.proof["session"], bytes.fromhex(str(claim.proof["password"])))
    with other_client(local_zookeeper, client_id=identity):
        pass  # ends the session
    for _ in range(2):  # kazoo has a new session meanwhile
        with pytest.raises(LeadershipLost):
            renew(leader)


def test_a_renewal_goes_on_from_one_whose_answer_was_lost(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    leader, claim = sessions.lead()
    node = claim.proof["node"]
    with other_client(local_zookeeper) as client:
        client.set(node, client.get(node)[0])
        leader.renew()
        client.set(node, client.get(node)[0])
        leader.resign()
    assert sessions.look().leader is None


def test_a_leader_whose_node_another_program_has_written_has_lost(
    sessions: Sessions, local_zookeeper: ZooKeeper
) -> None:
    leader, claim = sessions.lead()
    with other_client(local_zookeeper) as client:
        client.set(claim.proof["node"], b"something else")
    with pytest.raises(LeadershipLost, match="another process"):
        leader.renew()


# A successor on the same machine.


def test_a_session_that_was_left_is_taken_over_at_once(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    standby = sessions.standby()
    leader.leave()
    leader.close()
    _, taken = sessions.lead(claim.proof)
    assert taken.takes_over
    assert taken.term > claim.term
    assert standby.result is None
    assert sessions.look().waiting == 1


def test_a_leader_whose_session_was_taken_over_has_lost(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    leader._connection.leave(LEASE)  # type: ignore[attr-defined]  # its process is stopped
    successor, _ = sessions.lead(claim.proof)
    leader._connection = None  # type: ignore[attr-defined]
    with pytest.raises(LeadershipLost, match="another process"):
        leader.renew()
    successor.renew()


@pytest.mark.parametrize(
    "change",
    [
        {"session": 77},
        {"password": "00" * 16},
        {"password": "no number"},
        {"token": "another"},
        {"node": "/app/nothing"},
        {"timeout": 5000},
    ],
)
def test_a_claim_that_does_not_stand_is_not_taken_over(
    sessions: Sessions, change: dict[str, str | int]
) -> None:
    leader, claim = sessions.lead()
    session = sessions.session()
    with pytest.raises(CalledOff):
        acquire(session, Waiting(None, 0), {**claim.proof, **change})
    session.close()
    if set(change) & {"timeout", "session", "password"}:
        renew(leader)


# Times.


def test_a_renewal_counts_from_its_sending_if_the_request_before_has_been_reported() -> None:
    session = timing.session_for(4.0, tick=2.0)
    assert timing.lease_for(session, 2.0) == pytest.approx(4.0)
    regular = [10.0, 11.0, 12.0]
    assert timing.confirmed(13.0, [*regular, 13.0], 5.0, spare=session - 4, tick=2.0) == 13.0


def test_a_renewal_after_silence_counts_from_the_request_before_it() -> None:
    assert timing.confirmed(13.0, [8.0, 12.5, 13.0], 5.0, spare=3.0, tick=2.0) == 11.0
    assert timing.confirmed(13.0, [12.5, 13.0], 5.0, spare=3.0, tick=2.0) == 8.0


def test_a_renewal_soon_after_connecting_counts_from_its_sending() -> None:
    assert timing.confirmed(13.0, [12.9, 13.0], 12.9, spare=3.0, tick=2.0) == 13.0


# A process and its parts.


def test_a_forked_child_cannot_use_a_session_and_does_it_no_harm(sessions: Sessions) -> None:
    leader, _ = sessions.lead()

    def child() -> bool:
        for call in (leader.renew, leader.resign):
            with pytest.raises(EngineUnusable, match="begin the election in the child"):
                call()
        leader.close()
        return True

    assert forked(child) == 0
    leader.renew()
    assert sessions.look().leader is not None


def test_no_signal_reaches_the_threads_of_the_client(sessions: Sessions) -> None:
    before = set(os.listdir("/proc/self/task"))
    sessions.lead()
    threads = set(os.listdir("/proc/self/task")) - before
    assert len(threads) >= 3
    for thread in threads:
        status = Path(f"/proc/self/task/{thread}/status").read_text(encoding="ascii")
        blocked = int(next(line.split()[1] for line in status.splitlines() if "SigBlk" in line), 16)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            assert blocked & 1 << (number - 1)


def test_a_closed_session_leaves_no_thread_and_no_descriptor(sessions: Sessions) -> None:
    def left() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))

    before = left()
    leader, claim = sessions.lead()
    leader.leave()
    leader.close()
    successor, _ = sessions.lead(claim.proof)
    waiter = sessions.session()
    with pytest.raises(CalledOff):
        acquire(waiter, Waiting(None, 0))
    waiter.close()
    successor.resign()
    successor.close()
    until(lambda: left() == before, "all threads and descriptors to go")


def test_a_session_imports_nothing_once_its_engine_is_made(local_zookeeper: ZooKeeper) -> None:
    with Child(local_zookeeper.url(f"test{next(_names)}")) as child:
        child.tell("from leaderlock.engines import Waiting, engine_of")
        child.tell(
            "engine = engine_of(argv[0], 3.0); waiting = Waiting(None, 0); had = set(sys.modules)"
        )
        child.tell("session = engine.connect()")
        child.tell("claim = waiting.run(lambda: session.acquire(waiting, None))")
        child.tell("session.renew(); session.write('history', b''); session.read('history')")
        child.tell("session.look(); session.resign(); session.close()")
        assert child.tell("sorted(set(sys.modules) - had)") == []


def test_no_log_shows_a_password(local_zookeeper: ZooKeeper, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.NOTSET + 1)
    url = local_zookeeper.url(f"test{next(_names)}").replace("://", "://app:hunter2@")
    url = url.replace("/app/", "/of-one-user/")  # others need /app
    sessions = Sessions(url, LEASE, lambda: 0)
    leader, claim = sessions.lead()
    leader._connection._handler.reconnect()  # type: ignore[attr-defined]
    renew(leader)
    leader.resign()
    sessions.close()
    assert "hunter2" not in caplog.text
    assert str(claim.proof["password"]) not in caplog.text
