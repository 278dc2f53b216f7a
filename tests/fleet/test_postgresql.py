"""Elections in PostgreSQL: a real server, its rows and its locks."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator

import pytest

from leaderlock import LeadershipLost
from leaderlock.engines import CalledOff, Session, Waiting
from leaderlock.engines.postgresql import candidacy, connecting
from leaderlock.engines.postgresql.names import Names
from leaderlock.engines.postgresql.server_clock import ServerClock
from leaderlock.errors import EngineUnreachable, EngineUnusable
from tests.fleet.servers import PostgreSQL
from tests.fleet.sessions import Sessions, acquire
from tests.processes import Child, forked, settled, until, wakeups_of

LEASE = 3.0

Make = Callable[..., Sessions]

_names = itertools.count()


@pytest.fixture
def make(local_postgresql: PostgreSQL) -> Iterator[Make]:
    """Makes the sessions of an election, of its own unless a URL is given."""
    made: list[Sessions] = []

    def sessions(url: str = "", lease: float = LEASE) -> Sessions:
        made.append(Sessions(url or local_postgresql.url(f"test{next(_names)}"), lease))
        return made[-1]

    yield sessions
    for each in made:
        each.close()


@pytest.fixture
def sessions(make: Make) -> Sessions:
    return make()


def drop_sessions(server: PostgreSQL) -> None:
    """End each client's session, as a restart does."""
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'leaderlock %'"
    )


def is_renewed(leader: Session) -> bool:
    """Whether a try to renew the lease succeeds."""
    try:
        leader.renew()
    except EngineUnreachable:
        return False
    return True


def test_one_leads_and_the_next_takes_over_at_a_resignation(sessions: Sessions) -> None:
    leader, first = sessions.lead()
    assert not first.takes_over
    second, third = sessions.standby(), sessions.standby()
    resigned = time.monotonic()
    leader.resign()
    leader.close()
    assert second.claim().term > first.term
    assert second.claim().takes_over
    assert second.at < resigned + LEASE / 2
    assert not third.has_ended
    second.session.resign()
    second.session.close()
    assert third.claim().term > second.claim().term


def test_the_next_leads_when_the_lease_of_a_silent_leader_has_ended(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    renewed = leader.renew()
    assert renewed >= claim.confirmed
    next_leader = sessions.standby()
    assert next_leader.claim().term == claim.term + 1
    assert renewed + LEASE < next_leader.claim().confirmed < renewed + 1.5 * LEASE
    with pytest.raises(LeadershipLost, match=f"term {claim.term} is over"):
        leader.renew()


def test_the_next_leads_when_the_lease_of_a_killed_leader_has_ended(sessions: Sessions) -> None:
    with Child() as process:
        process.tell(
            f"election = leaderlock.Election({sessions.url!r}, lease={LEASE});"
            "candidate = election.start(lambda leadership: leadership.stopping.wait())"
        )
        assert process.tell("candidate.wait(60)")
        standby = sessions.standby()
        killed = time.monotonic()
        process.kill()
        assert standby.claim().term == 2
        assert killed + LEASE / 2 < standby.at < killed + 1.5 * LEASE


def test_renewals_of_the_leader_keep_the_next_waiting(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    standby = sessions.standby()
    until_then = claim.confirmed + 1.2 * LEASE
    while time.monotonic() < until_then:
        assert leader.renew() >= claim.confirmed
        assert not standby.has_ended
        time.sleep(LEASE / 8)


def test_a_look_shows_the_leader_the_rest_of_its_lease_and_the_queue(sessions: Sessions) -> None:
    assert sessions.look() == (0, None, None, 0)
    leader, claim = sessions.lead()
    sessions.standby()
    sessions.standby()
    standing = sessions.look()
    assert standing.term == claim.term
    assert standing.leader is not None
    assert standing.leader["pid"] == os.getpid()
    assert standing.ends is not None
    assert 0 < standing.ends <= LEASE
    assert standing.waiting == 2
    leader.renew()
    assert sessions.look().term == claim.term


def test_a_look_shows_no_leader_after_a_resignation_and_after_a_lease(make: Make) -> None:
    sessions = make(lease=1.0)
    leader, _ = sessions.lead()
    leader.resign()
    assert sessions.look()[1:3] == (None, None)
    leader, claim = sessions.lead()
    until(lambda: sessions.look().leader is None, "the end of the lease")
    assert time.monotonic() > claim.confirmed + 1.0


def test_a_candidate_without_patience_does_not_wait(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    assert not sessions.is_elected()
    leader.close()  # as if the process had died: its lease goes on
    assert not sessions.is_elected()
    assert sessions.look().term == claim.term


def test_a_wait_is_cancelled(sessions: Sessions) -> None:
    sessions.lead()
    first, second = sessions.standby(), sessions.standby()
    assert isinstance(second.cancel(), CalledOff)
    assert isinstance(first.cancel(), CalledOff)
    first.session.close()
    second.session.close()
    until(lambda: sessions.look().waiting == 0, "the server to notice")


def test_the_wait_for_the_rest_of_a_lease_is_cancelled(make: Make) -> None:
    sessions = make(lease=60.0)
    leader, _ = sessions.lead()
    leader.close()
    standby = sessions.standby()
    assert isinstance(standby.cancel(), CalledOff)


def test_elections_of_other_names_do_not_meet(make: Make) -> None:
    make().lead()
    make().lead()


def test_a_local_successor_takes_over_at_once(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    standby = sessions.standby()
    leader.leave()
    leader.close()
    successor, taken = sessions.lead(claim.proof)
    assert taken.term == claim.term + 1
    assert taken.takes_over
    assert not standby.has_ended
    with pytest.raises(LeadershipLost):
        leader.renew()
    assert successor.renew() > taken.confirmed


@pytest.mark.parametrize("end", ["resigned", "overtaken", "damaged"])
def test_a_claim_that_does_not_stand_is_not_taken_over(sessions: Sessions, end: str) -> None:
    leader, claim = sessions.lead()
    proof = claim.proof
    if end == "resigned":
        leader.resign()
    elif end == "overtaken":
        sessions.lead(claim.proof)
    else:
        proof = {"term": "1"}
    leader.close()
    previous = sessions.session()
    if end == "resigned":
        assert acquire(previous, Waiting(None, 0), proof).term == claim.term + 1
    else:
        with pytest.raises(CalledOff):
            acquire(previous, Waiting(None, 0), proof)


def test_a_leader_without_the_lock_gets_it_from_the_next_leader(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    sessions = make(lease=1.0)
    leader, claim = sessions.lead()
    standby = sessions.standby()
    leader.leave()
    leader.close()
    successor, taken = sessions.lead(claim.proof)

    def waits_for_the_successor() -> bool:
        assert successor.renew() > taken.confirmed
        assert not standby.has_ended
        ((waits,),) = local_postgresql.sql(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        return bool(waits)

    until(waits_for_the_successor, "the lock")
    resigned = time.monotonic()
    successor.resign()
    successor.close()
    assert standby.claim().term == taken.term + 1
    assert standby.at < resigned + 0.5


def test_a_leader_that_dies_without_the_lock_is_followed_after_its_lease(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[tuple[float, float]] = []
    wait = candidacy.Candidacy._is_notified

    def recorded(self: candidacy.Candidacy, seconds: float) -> bool:
        waits.append((time.monotonic(), seconds))
        return wait(self, seconds)

    monkeypatch.setattr(candidacy.Candidacy, "_is_notified", recorded)
    first, claim = sessions.lead()
    first.leave()
    first.close()
    second, _ = sessions.lead(claim.proof)
    standby = sessions.standby()
    until(lambda: waits, "the standby to have the lock, and to wait for the end of the lease")
    second.renew()  # so it finds a leader at the end of the wait
    renewed = time.monotonic()
    assert standby.claim().takes_over
    assert standby.at > renewed + LEASE * 0.99
    for moment, seconds in waits[1:]:
        assert moment + seconds < renewed + LEASE * 1.03 + 0.1


def test_a_resignation_wakes_the_next_that_waits_for_the_end_of_a_lease(make: Make) -> None:
    sessions = make(lease=30.0)
    leader, claim = sessions.lead()
    leader.leave()
    leader.close()  # the standby has the lock by now, and waits for the lease
    standby = sessions.standby()
    successor, taken = sessions.lead(claim.proof)
    resigned = time.monotonic()
    successor.resign()
    assert standby.claim().term == taken.term + 1
    assert standby.at < resigned + 15


def test_a_leader_leads_on_after_a_restart_of_the_server(
    sessions: Sessions, local_postgresql: PostgreSQL
) -> None:
    leader, claim = sessions.lead()
    first, second = sessions.standby(), sessions.standby()
    local_postgresql.restart()
    for standby in (first, second):
        standby.join()
        assert isinstance(standby.result, EngineUnreachable)
    after = [sessions.standby(), sessions.standby()]
    until_then = time.monotonic() + 1.2 * LEASE
    while time.monotonic() < until_then:
        assert leader.renew() > claim.confirmed
        assert not any(standby.has_ended for standby in after)
        time.sleep(LEASE / 8)
    assert sessions.look().term == claim.term


def test_a_leader_leads_on_after_a_crash_of_the_server(
    sessions: Sessions, local_postgresql: PostgreSQL
) -> None:
    leader, claim = sessions.lead()
    local_postgresql.crash()
    with pytest.raises(EngineUnreachable):
        leader.renew()
    local_postgresql.start()
    assert leader.renew() > claim.confirmed
    assert sessions.look().term == claim.term


def test_a_new_incarnation_of_the_server_gives_a_silent_leader_a_whole_lease(
    sessions: Sessions, local_postgresql: PostgreSQL
) -> None:
    _, claim = sessions.lead()
    local_postgresql.restart()
    local_postgresql.sql("UPDATE leaderlock.elections SET renewed = renewed - interval '1 hour'")
    looked = time.monotonic()
    standby = sessions.standby()
    assert standby.claim().term == claim.term + 1
    assert standby.at > looked + LEASE


def test_a_dropped_session_costs_the_leader_nothing(
    sessions: Sessions, local_postgresql: PostgreSQL
) -> None:
    leader, _ = sessions.lead()
    drop_sessions(local_postgresql)
    until(lambda: is_renewed(leader), "a new connection")
    assert not sessions.is_elected()


def test_the_server_drops_a_leader_before_its_lease_ends(
    sessions: Sessions, local_postgresql: PostgreSQL
) -> None:
    sessions.lead()
    assert local_postgresql.sessions() == 1
    until(lambda: local_postgresql.sessions() == 0, "idle_session_timeout")
    assert (sessions.look().ends or 0) > 0


def test_a_candidate_with_a_shorter_lease_waits_for_the_end_of_a_longer_one(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    url = local_postgresql.url(f"test{next(_names)}")
    leader, claim = make(url, 4.0).lead()
    leader.close()
    standby = make(url, 1.0).standby()
    assert standby.claim().term == claim.term + 1
    assert standby.claim().confirmed > claim.confirmed + 4


def test_a_waiting_candidate_needs_no_wakeups_and_no_queries(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    sessions = make(lease=60.0)
    sessions.lead()
    with Child() as process:
        process.tell(
            "from leaderlock.engines import engine_of, Waiting;"
            f"session = engine_of({sessions.url!r}, 60).connect();"
            "waiting = Waiting()"
        )
        process.begin("waiting.run(lambda: session.acquire(waiting, None))")
        until(lambda: sessions.look().waiting == 1, "the queue")
        waits = "SELECT query_start FROM pg_stat_activity WHERE wait_event = 'advisory'"
        [began] = until(lambda: local_postgresql.sql(waits), "the lock")
        woken = settled(process.pid)
        time.sleep(2)  # the absence of an event has no event
        assert wakeups_of(process.pid) == woken
        assert local_postgresql.sql(waits) == [began]


def test_a_wait_ends_in_slices_and_goes_on_without_a_line_in_the_servers_log(
    make: Make, local_postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (candidacy, connecting):
        monkeypatch.setattr(module, "SLICE", 0.05)
    sessions = make(lease=60.0)  # the server drops a leader that is silent
    leader, claim = sessions.lead()
    log = local_postgresql.directory() / "output"
    before = log.stat().st_size
    first, second = sessions.standby(), sessions.standby()

    seen: set[tuple[object, ...]] = set()

    def have_begun_anew() -> bool:
        seen.update(
            local_postgresql.sql(
                "SELECT pid, query_start FROM pg_stat_activity WHERE wait_event = 'advisory'"
            )
        )
        return len(seen) > 8 and len({pid for pid, _ in seen}) == 2

    until(have_begun_anew, "slices of both waits")
    leader.resign()
    leader.close()
    until(lambda: first.has_ended or second.has_ended, "an election")
    elected = first if first.has_ended else second
    assert elected.claim().term == claim.term + 1
    assert b"timeout" not in log.read_bytes()[before:]


def test_settings_of_the_user_do_not_harm_an_election(make: Make, local_postgresql: PostgreSQL) -> None:
    url = local_postgresql.url(f"test{next(_names)}")
    settings = {
        "statement_timeout": "200ms",
        "lock_timeout": "200ms",
        "idle_session_timeout": "200ms",
        "default_transaction_isolation": "serializable",
        "synchronous_commit": "off",
        "search_path": "nowhere",
        "bytea_output": "escape",
        "timezone": "Asia/Kathmandu",
        "datestyle": "German",
    }
    for name, value in settings.items():
        local_postgresql.sql(f"ALTER ROLE postgres SET {name} = '{value}'")
    try:
        sessions = make(url)
        leader, claim = sessions.lead()
        standby = sessions.standby()
        time.sleep(0.6)  # longer than each of these
        assert leader.renew() > claim.confirmed
        assert not standby.has_ended
        leader.write("history", b"\0\xff")
        assert leader.read("history") == b"\0\xff"
        leader.resign()
        leader.close()
        assert standby.claim().term == claim.term + 1
    finally:
        local_postgresql.sql("ALTER ROLE postgres RESET ALL")


def test_notes_are_kept_for_every_client(make: Make) -> None:
    sessions = make()
    assert sessions.session().read("history") is None
    sessions.session().write("history", b"\0one")
    sessions.session().write("history", b"two\xff")
    sessions.session().write("request", b"")
    assert sessions.session().read("history") == b"two\xff"
    assert sessions.session().read("request") == b""
    assert make(sessions.url + "2").session().read("history") is None


def test_a_database_without_the_tables_is_no_error_for_a_reader(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    local_postgresql.sql("DROP SCHEMA IF EXISTS leaderlock CASCADE")
    sessions = make()
    assert sessions.session().read("history") is None
    assert sessions.look() == (0, None, None, 0)
    sessions.session().write("history", b"x")
    assert sessions.session().read("history") == b"x"


def test_candidates_that_start_together_create_the_tables_once(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    local_postgresql.sql("DROP SCHEMA IF EXISTS leaderlock CASCADE")
    url = local_postgresql.url(f"test{next(_names)}")
    with Child() as one, Child() as other, Child() as third:
        for process in (one, other, third):
            process.tell(
                "from leaderlock.engines import engine_of, Waiting;"
                f"session = engine_of({url!r}, 60).connect(); waiting = Waiting()"
            )
        for process in (one, other, third):
            process.begin("waiting.run(lambda: session.acquire(waiting, None)).term")
        sessions = make(url)
        until(lambda: sessions.look()[0::3] == (1, 2), "one leader, and a queue of two")


def test_a_forked_child_does_not_use_its_parents_connection(sessions: Sessions) -> None:
    leader, claim = sessions.lead()

    def child() -> bool:
        for call, error in (
            (leader.renew, LeadershipLost),
            (leader.resign, LeadershipLost),
            (leader.look, EngineUnusable),
        ):
            with pytest.raises(error, match="child"):
                call()
        leader.close()
        return True

    assert forked(child) == 0
    assert leader.renew() > claim.confirmed
    assert sessions.look().term == claim.term


def test_a_forked_child_does_not_keep_its_parents_session(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    sessions = make(lease=600.0)
    with Child() as process:
        process.tell(
            "from leaderlock.engines import engine_of, Waiting;"
            f"session = engine_of({sessions.url!r}, 600).connect(); waiting = Waiting()"
        )
        process.tell("waiting.run(lambda: session.acquire(waiting, None)).term")
        child = process.tell("os.fork() or time.sleep(600)")
        assert local_postgresql.sessions() == 1
        process.kill()
        until(lambda: local_postgresql.sessions() == 0, "the end of the session")
        os.kill(child, 0)  # lives, and ends with the group of its parent


@pytest.mark.slow
def test_the_next_leader_gives_one_with_a_longer_lease_the_time_for_a_renewal(
    make: Make, local_postgresql: PostgreSQL
) -> None:
    url = local_postgresql.url(f"test{next(_names)}")
    long, short = make(url, 4.0), make(url, 1.0)
    seat = Names(long.engine.name).seat & 0xFFFFFFFF
    seats = f"SELECT granted FROM pg_locks WHERE locktype = 'advisory' AND objid = {seat}"
    leader, claim = long.lead()
    leader.close()
    standby = short.standby()
    until(lambda: local_postgresql.sql(seats) == [(True,)], "the candidate to have the seat")
    successor, taken = long.lead(claim.proof)

    def has_seat() -> bool:
        time.sleep(1.0)  # a quarter of the leader's lease
        assert successor.renew() > taken.confirmed
        return set(local_postgresql.sql(seats)) == {(True,), (False,)}

    until(has_seat, "the leader to have the seat, and the candidate to wait for it")
    assert not standby.has_ended


def test_a_deleted_row_ends_the_term(sessions: Sessions, local_postgresql: PostgreSQL) -> None:
    leader, _ = sessions.lead()
    local_postgresql.sql(f"DELETE FROM leaderlock.elections WHERE name = '{sessions.engine.name}'")
    with pytest.raises(LeadershipLost):
        leader.renew()
    leader.resign()


def test_a_server_clock_that_was_set_forward_does_not_end_a_lease() -> None:
    clock = ServerClock()
    started = time.time() - 1e6 - time.monotonic()
    clock.note(started + time.monotonic())
    long_ago = 1e-9  # so short a lease has passed since the sample
    assert clock.gained(started + time.monotonic(), long_ago) < 1
    assert 3599 < clock.gained(started + time.monotonic() + 3600, long_ago) < 3601
    assert clock.gained(started + time.monotonic() - 3600, long_ago) == 0


def test_a_fresh_candidate_compares_the_servers_clock_with_its_own() -> None:
    ahead, agreeing = ServerClock(), ServerClock()
    ahead.note(time.time() + 3600)
    agreeing.note(time.time())
    assert 3599 < ahead.gained(time.time() + 3600, LEASE) < 3601
    assert agreeing.gained(time.time(), LEASE) < 1
