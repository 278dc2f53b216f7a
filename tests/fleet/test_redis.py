"""Elections in a real Redis server: who leads, when the next one does, and what a new server means."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

import pytest

from leaderlock.engines.address import Address
from leaderlock.engines.leased.session import Claim
from leaderlock.engines.leased.waiting import CalledOff, Waiting
from leaderlock.engines.redis import engine
from leaderlock.engines.redis.session import RedisSession, ServerClock
from leaderlock.errors import LeadershipLost
from leaderlock.kernel.wait import Wait
from tests.fleet.patched import require_cooperation
from tests.fleet.servers import Redis
from tests.processes import PATIENCE, Child, settled, until, wakeups_of
from tests.test_native_threads import Program, libraries

LEASE = 2.0
SLACK = 10.0
"""Seconds that a busy machine may add to a measured time; `make fleet` measures."""

PROGRAM = """
from leaderlock import Election
def task(leadership):
    print(f"leads {leadership.term} {time.monotonic()}")
    for _ in leadership.every(0.1):
        pass
candidate = Election(%r, lease=%r).start(task)
"""


@contextmanager
def candidate_of(url: str, lease: float = LEASE) -> Iterator[Child]:
    """A process that stands in an election, and says when it leads."""
    with Child() as child:
        child.tell(PROGRAM % (url, lease))
        yield child


def term_of(child: Child) -> tuple[int, float]:
    """Wait until a candidate leads: its term, and CLOCK_MONOTONIC of its task's beginning."""
    word, term, moment = child.line().split()
    assert word == "leads"
    return int(term), float(moment)


def session_of(url: str, lease: float = LEASE) -> RedisSession:
    return RedisSession(engine(Address(url), lease), 0, ServerClock())


def elect(session: RedisSession, previous: Any = None, limit: float | None = PATIENCE) -> Claim:
    """Wait in this thread until a session is elected."""
    waiting = Waiting(None, limit)
    return waiting.run(lambda: session.acquire(waiting, previous))


def waiters_of(url: str) -> int | None:
    session = session_of(url)
    try:
        return session.look().waiting
    finally:
        session.close()


def until_waiting(url: str, count: int = 1) -> None:
    until(lambda: waiters_of(url) == count, f"{count} candidates to wait")


@pytest.fixture
def new_url(local_redis: Redis) -> Iterator[str]:
    """The URL of an election that the server has not seen; the server's settings are put back."""
    settings = "notify-keyspace-events", "maxmemory", "maxmemory-policy"
    before = {name: local_redis.call("CONFIG", "GET", name)[name] for name in settings}
    local_redis.call("FLUSHALL")
    yield local_redis.url()
    for name, value in before.items():
        local_redis.call("CONFIG", "SET", name, value)


@pytest.fixture
def url(new_url: str) -> str:
    """The URL of an election that had a leader, so that there is no quarantine."""
    short = engine(Address(new_url), None)
    short.session = 0.05
    session = RedisSession(short, 0, ServerClock())
    elect(session)
    session.resign()
    session.close()
    return new_url


@pytest.fixture
def sessions() -> Iterator[ExitStack]:
    """Closes sessions at the test's end."""
    with ExitStack() as stack:
        yield stack


def test_one_leads_and_the_next_one_leads_at_its_resignation(url: str) -> None:
    with candidate_of(url, 30.0) as leader:
        term, _ = term_of(leader)
        with candidate_of(url, 30.0) as second:
            until_waiting(url)
            began = time.monotonic()
            leader.tell("candidate.stop()")
            later, moment = term_of(second)
            assert later > term
            assert moment - began < 10  # the lease does not have to pass


def test_the_next_one_leads_within_a_lease_of_a_kill(url: str) -> None:
    with candidate_of(url) as leader:
        term, _ = term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            killed = time.monotonic()
            leader.kill()
            later, moment = term_of(second)
            assert later > term
            assert moment - killed < 1.1 * LEASE + SLACK


def test_a_stopped_leader_is_dead_before_the_next_one_leads(url: str) -> None:
    with candidate_of(url) as leader:
        term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            leader.signal(signal.SIGSTOP)
            stopped = time.monotonic()
            _, moment = term_of(second)
            assert leader.wait(0) == -signal.SIGKILL  # no wait: it has ended
            assert moment - stopped < 1.1 * LEASE + SLACK


def test_a_waiting_candidate_can_be_stopped_and_leaves_the_queue(url: str) -> None:
    with candidate_of(url) as leader:
        term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            assert second.tell("candidate.stop(30)") is True
            until_waiting(url, 0)
            leader.kill()
            assert second.is_silent(LEASE + 0.5)


def test_a_candidate_with_no_time_to_wait_asks_once(url: str, sessions: ExitStack) -> None:
    leader, other = session_of(url), session_of(url)
    sessions.callback(leader.close)
    sessions.callback(other.close)
    elect(leader)
    with pytest.raises(CalledOff):
        elect(other, limit=0)
    other.close()
    leader.resign()
    assert elect(other, limit=0).term > 0
    assert waiters_of(url) == 0


def test_another_thread_cancels_a_wait(url: str, sessions: ExitStack) -> None:
    leader, other = session_of(url, 30.0), session_of(url, 30.0)
    sessions.callback(leader.close)
    sessions.callback(other.close)
    elect(leader)
    wait = Wait()
    waiting = Waiting(wait)
    ends: list[str] = []

    def stand() -> None:
        try:
            waiting.run(lambda: other.acquire(waiting, None))
        except CalledOff:
            ends.append("called off")

    thread = Thread(target=stand)
    thread.start()
    until_waiting(url)
    wait.cancel()
    thread.join(PATIENCE)
    assert ends == ["called off"]


def test_a_look_shows_the_leader_the_end_of_its_lease_and_the_queue(
    url: str, sessions: ExitStack
) -> None:
    leader = session_of(url, 30.0)
    sessions.callback(leader.close)
    assert leader.look()[1:] == (None, None, 0)
    claim = elect(leader)
    with candidate_of(url, 30.0):
        until_waiting(url)
        found = leader.look()
    assert found.term == claim.term
    assert found.leader is not None
    assert found.leader["pid"] == os.getpid()
    assert found.ends is not None
    assert 0 < found.ends <= 30
    leader.resign()
    assert leader.look() == (claim.term, None, None, 0)


def test_notes_are_kept_by_any_client(url: str, sessions: ExitStack) -> None:
    one, other = session_of(url), session_of(url)
    sessions.callback(one.close)
    sessions.callback(other.close)
    assert one.read("request") is None
    other.write("request", b"17\x00")
    assert one.read("request") == b"17\x00"


def test_an_heir_takes_over_at_once_and_its_predecessor_has_lost(url: str, sessions: ExitStack) -> None:
    leader, heir, stranger = (session_of(url, 30.0) for _ in range(3))
    for session in (leader, heir, stranger):
        sessions.callback(session.close)
    claim = elect(leader)
    leader.leave()
    taken = elect(heir, claim.proof, limit=0)
    assert taken.term > claim.term
    assert taken.takes_over
    with pytest.raises(LeadershipLost):
        leader.renew()
    leader.resign()  # of a claim that has ended: nothing happens
    heir.renew()
    with pytest.raises(CalledOff):  # the proof of a claim that has ended proves nothing
        elect(stranger, claim.proof, limit=0)


def test_a_new_candidate_waits_a_lease_after_a_leader_that_has_not_resigned(
    url: str, sessions: ExitStack
) -> None:
    """The server's clock alone does not prove that the lease has passed: somebody may have set it."""
    leader, new = session_of(url, 1.0), session_of(url, 1.0)
    sessions.callback(leader.close)
    sessions.callback(new.close)
    elect(leader)
    until(lambda: new.look().leader is None, "the end of the lease")
    began = time.monotonic()
    assert elect(new).confirmed - began >= 1.0


# A new server, or one that has forgotten.


def test_a_new_name_has_no_leader_for_one_lease(new_url: str, sessions: ExitStack) -> None:
    session = session_of(new_url)
    sessions.callback(session.close)
    began = time.monotonic()
    assert elect(session).confirmed - began >= LEASE


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["restart", "crash"])
def test_a_leader_leads_on_over_a_restart_of_the_server(
    url: str, local_redis: Redis, ends: str
) -> None:
    with candidate_of(url) as leader:
        term, _ = term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            if ends == "crash":
                local_redis.crash()
                local_redis.start()
            else:
                local_redis.restart()
            until_waiting(url)
            found = until(lambda: leads_in(url), "a leader in the new server")
            assert found == (term, leader.pid)
            assert second.is_silent(1.5 * LEASE)
            assert leader.tell("candidate.is_leader") is True


def leads_in(url: str) -> tuple[int, object] | None:
    session = session_of(url)
    try:
        found = session.look()
    finally:
        session.close()
    return None if found.leader is None else (found.term, found.leader["pid"])


def test_a_leader_that_dies_with_the_server_is_followed_after_a_lease_and_a_greater_term(
    url: str, local_redis: Redis
) -> None:
    with candidate_of(url) as leader:
        term, _ = term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            local_redis.stop()
            leader.kill()
            local_redis.start()
            back = time.monotonic()
            later, moment = term_of(second)
            assert later > term
            assert LEASE < moment - back < 1.2 * LEASE + SLACK


@pytest.mark.slow
@pytest.mark.parametrize("command", ["FLUSHALL", "DEL leaderlock:{health}"])
def test_a_cleared_or_evicted_record_makes_no_second_leader(
    url: str, local_redis: Redis, sessions: ExitStack, command: str
) -> None:
    with candidate_of(url) as leader:
        term, _ = term_of(leader)
        with candidate_of(url) as second:
            until_waiting(url)
            local_redis.call(*command.split())
            newcomer = session_of(url)
            sessions.callback(newcomer.close)
            with pytest.raises(CalledOff):
                elect(newcomer, limit=0)
            assert until(lambda: leads_in(url), "the leader's next renewal") == (term, leader.pid)
            assert second.is_silent(1.5 * LEASE)
            leader.kill()
            later, _ = term_of(second)
            assert later > term


def test_a_record_of_an_earlier_leader_does_not_make_a_living_one_lose(
    url: str, local_redis: Redis, sessions: ExitStack
) -> None:
    """As after a restart with a snapshot that is older than the leader's election."""
    old, leader, other = session_of(url), session_of(url), session_of(url)
    for session in (old, leader, other):
        sessions.callback(session.close)
    elect(old)
    snapshot = local_redis.call("HGETALL", "leaderlock:{health}")
    old.resign()
    term = elect(leader).term
    snapshot["server"] = "0" * 40
    for field, value in snapshot.items():
        local_redis.call("HSET", "leaderlock:{health}", field, value)
    with pytest.raises(CalledOff):
        elect(other, limit=0)  # begins the quarantine
    leader.renew()
    found = other.look()
    assert found.term == term
    assert found.leader is not None


# Waiting.


@pytest.fixture(params=["events", "no events", "many keys"])
def manner(request: pytest.FixtureRequest, url: str, local_redis: Redis) -> str:
    """How candidates learn of a leader's end; the URL of an election in such a server."""
    local_redis.call("CONFIG", "SET", "notify-keyspace-events", "")
    if request.param == "no events":  # and no right to set them
        rights = ("~*", "&*", "+@all", "-config")
        local_redis.call("ACL", "SETUSER", "limited", "reset", "on", ">secret", *rights)
        return url.replace("redis://", "redis://limited:secret@")
    if request.param == "many keys":
        fill = "for i = 1, 50000 do redis.call('SET', 'x' .. i, '', 'EX', 3600) end"
        local_redis.call("EVAL", fill, "0")
    return url


@pytest.mark.slow
def test_the_next_one_leads_in_time_whatever_the_server_tells(manner: str) -> None:
    with candidate_of(manner) as leader:
        term, _ = term_of(leader)
        with candidate_of(manner) as second:
            until_waiting(manner)
            assert second.is_silent(1.5 * LEASE)
            killed = time.monotonic()
            leader.kill()
            later, moment = term_of(second)
            assert later > term
            assert moment - killed < 1.1 * LEASE + SLACK


def has_heir(server: Redis) -> bool:
    """Whether a candidate has offered itself as the next leader, which costs it one wakeup."""
    return bool(server.call("HGET", "leaderlock:{health}", "heir"))


def test_a_waiting_candidate_does_not_wake_up(
    url: str, local_redis: Redis, sessions: ExitStack
) -> None:
    leader = session_of(url)
    sessions.callback(leader.close)
    elect(leader)
    with candidate_of(url) as second:
        until(lambda: leader.renew() and waiters_of(url) == 1, "the candidate to wait")
        until(lambda: leader.renew() and has_heir(local_redis), "an heir")
        before = settled(second.pid)
        for _ in range(15):  # for longer than a lease
            time.sleep(LEASE / 10)
            leader.renew()
        assert wakeups_of(second.pid) == before


@pytest.mark.slow
def test_a_hundred_waiting_candidates_send_no_query(
    manner: str, local_redis: Redis, sessions: ExitStack
) -> None:
    lease, count = 4.0, 100
    leader = session_of(manner, lease)
    sessions.callback(leader.close)
    elect(leader)
    waits = [Wait() for _ in range(count)]
    threads = [Thread(target=stand, args=(manner, lease, wait)) for wait in waits]
    for thread in threads:
        thread.start()
    try:
        until(lambda: leader.renew() and leader.look().waiting == count, "all to subscribe")
        until(lambda: leader.renew() and has_heir(local_redis), "an heir")
        until(lambda: leader.renew() and scripts_of(local_redis, 0.2) == 0, "all to wait")
        leader.renew()
        before = scripts_run(local_redis)
        for renewals in range(1, 14):  # for longer than a lease
            time.sleep(lease / 10)
            leader.renew()
            assert scripts_run(local_redis) - before == renewals
    finally:
        for wait in waits:
            wait.cancel()
        for thread in threads:
            thread.join(PATIENCE)


def stand(url: str, lease: float, wait: Wait) -> None:
    session = session_of(url, lease)
    waiting = Waiting(wait)
    try:
        waiting.run(lambda: session.acquire(waiting, None))
    except CalledOff:
        pass
    finally:
        session.close()


def scripts_run(server: Redis) -> int:
    return int(server.call("INFO", "commandstats")["cmdstat_eval"]["calls"])


def scripts_of(server: Redis, seconds: float) -> int:
    before = scripts_run(server)
    time.sleep(seconds)
    return scripts_run(server) - before


@libraries
def test_a_patched_process_waits_and_leads_and_its_hub_runs_on(
    url: str, sessions: ExitStack, library: dict[str, str]
) -> None:
    leader, standby = session_of(url, 60.0), session_of(url, 60.0)
    sessions.callback(leader.close)
    sessions.callback(standby.close)
    elect(leader)
    require_cooperation(
        library,
        url,
        is_waiting=lambda: waiters_of(url) == 1,
        resign=leader.resign,
        stand=lambda: lambda: elect(standby, limit=30).term,  # the lease does not have to pass
    )


REFUSED = """
try:
    leaderlock.Election("rediss://host/0#x", lease=60)
except leaderlock.Unsupported as error:
    say(str(error))
else:
    say("made")
"""


@libraries
def test_a_patched_process_cannot_elect_over_tls(library: dict[str, str]) -> None:
    with Program(library, True, REFUSED, "") as program:
        assert "has patched TLS in this process" in program.line()
