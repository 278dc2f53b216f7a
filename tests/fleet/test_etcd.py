"""Elections in one real etcd: the key, its lease, the term, the waiters and the notes."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from leaderlock import EngineUnreachable, EngineUnusable, LeadershipLost
from leaderlock.engines import CalledOff, Waiting
from leaderlock.engines.etcd.record import from_base64, to_base64
from leaderlock.engines.leased import turns
from tests.fleet.servers import Etcd
from tests.fleet.sessions import Sessions, acquire
from tests.processes import forked, until

LEASE = 60.0
"""Seconds; so that no lease ends meanwhile on the slowest machine, unless a test lets it end."""

_names = itertools.count()


@pytest.fixture
def make(local_etcd: Etcd) -> Iterator[Callable[..., Sessions]]:
    """Makes the sessions of an election of its own."""
    made: list[Sessions] = []

    def sessions(lease: float = LEASE) -> Sessions:
        url = local_etcd.url(f"test{next(_names)}")
        made.append(Sessions(url, lease, local_etcd.sessions))
        return made[-1]

    yield sessions
    for each in made:
        each.close()


@pytest.fixture
def sessions(make: Callable[..., Sessions]) -> Sessions:
    return make()


def leases(server: Etcd) -> list[str]:
    """The leases of etcd that have not ended."""
    return [lease["ID"] for lease in server.post("/v3/lease/leases", {}).get("leases", [])]


def key(sessions: Sessions) -> str:
    return to_base64(sessions.engine.name)


def test_one_leads_and_the_next_takes_over_at_a_resignation(sessions: Sessions) -> None:
    first, claim = sessions.lead()
    assert not claim.takes_over
    standbys = [sessions.standby() for _ in range(2)]
    before = time.monotonic()
    first.resign()
    until(lambda: any(each.result for each in standbys), "a standby to lead")
    second, third = sorted(standbys, key=lambda each: each.result is None)
    assert second.at - before < LEASE / 2
    assert second.claim().takes_over
    assert second.claim().term > claim.term
    assert third.result is None
    second.session.resign()
    assert third.claim().term > second.claim().term


def test_a_leader_that_ends_without_a_word_is_followed_after_its_lease(
    make: Callable[..., Sessions],
) -> None:
    lease = 3.0
    sessions = make(lease)
    leader, _ = sessions.lead()
    standby = sessions.standby()
    confirmed = leader.renew()
    leader.close()
    assert standby.claim().takes_over
    assert confirmed + lease < standby.at


def test_a_lease_runs_from_before_the_request_and_is_renewed(sessions: Sessions) -> None:
    leader, claim = sessions.lead()
    before = time.monotonic()
    confirmed = leader.renew()
    slower = 0.01 * LEASE  # the leader's clock may be
    assert claim.confirmed < before - slower <= confirmed <= time.monotonic() - slower
    assert sessions.look().term == claim.term


def test_a_renewal_revokes_the_lease_before_it(sessions: Sessions, local_etcd: Etcd) -> None:
    before = set(leases(local_etcd))
    leader, _ = sessions.lead()
    for _ in range(3):
        leader.renew()
    assert len(set(leases(local_etcd)) - before) == 1
    leader.resign()
    assert set(leases(local_etcd)) <= before


def test_a_keepalive_of_its_lease_does_not_keep_the_key(sessions: Sessions, local_etcd: Etcd) -> None:
    leader, _ = sessions.lead()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    leader.renew()
    answer = local_etcd.post("/v3/lease/timetolive", {"ID": found["lease"], "keys": True})
    assert answer["TTL"] == "-1"


def test_a_leader_whose_key_was_deleted_has_lost(sessions: Sessions, local_etcd: Etcd) -> None:
    leader, claim = sessions.lead()
    standby = sessions.standby()
    local_etcd.post("/v3/kv/deleterange", {"key": key(sessions)})
    assert standby.claim().term > claim.term
    with pytest.raises(LeadershipLost, match=f"process {os.getpid()} on"):
        leader.renew()
    leader.resign()  # changes nothing
    standby.session.renew()
    standby.session.resign()
    with pytest.raises(LeadershipLost, match="the key is gone"):
        standby.session.renew()


def test_a_late_copy_of_a_renewal_changes_nothing(sessions: Sessions, local_etcd: Etcd) -> None:
    # A member that was stopped may carry out a transaction after others have carried out the next.
    leader, _ = sessions.lead()
    (before,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    copied = local_etcd.post("/v3/lease/grant", {"TTL": "60"})["ID"]
    leader.renew()
    name = {"key": key(sessions)}
    late = local_etcd.post(
        "/v3/kv/txn",
        {
            "compare": [
                {**name, "target": "VALUE", "value": before["value"]},
                {**name, "target": "LEASE", "lease": before["lease"]},
            ],
            "success": [{"request_put": {**name, "value": before["value"], "lease": copied}}],
        },
    )
    assert "succeeded" not in late
    leader.renew()


def test_a_renewal_goes_on_from_one_whose_answer_was_lost(sessions: Sessions, local_etcd: Etcd) -> None:
    leader, _ = sessions.lead()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    lost = local_etcd.post("/v3/lease/grant", {"TTL": "60"})["ID"]
    local_etcd.post("/v3/kv/put", {"key": found["key"], "value": found["value"], "lease": lost})
    leader.renew()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    assert found["lease"] != lost
    assert lost not in leases(local_etcd)


def test_a_successor_of_the_same_machine_takes_the_key_over_at_once(sessions: Sessions) -> None:
    first, claim = sessions.lead()
    first.renew()
    first.leave()
    first.close()
    second, taken = sessions.lead(claim.proof)
    assert taken.takes_over
    assert taken.term > claim.term
    assert sessions.look().term == taken.term
    second.renew()
    with pytest.raises(LeadershipLost):
        first.renew()
    with pytest.raises(CalledOff):  # the first proof is worth nothing now
        sessions.lead(claim.proof)


def test_terms_rise_whoever_leads(sessions: Sessions) -> None:
    terms = []
    for _ in range(5):
        leader, claim = sessions.lead()
        terms.append(claim.term)
        assert sessions.look().term == claim.term
        leader.renew()
        leader.resign()
        assert sessions.look().term == claim.term
    assert terms == sorted(set(terms))


def test_a_cancelled_wait_ends_and_leaves_nothing(sessions: Sessions, local_etcd: Etcd) -> None:
    leader, _ = sessions.lead()
    before, watches = leases(local_etcd), local_etcd.sessions()
    standby = sessions.standby()
    assert isinstance(standby.cancel(), CalledOff)
    standby.session.close()
    until(lambda: local_etcd.sessions() == watches, "the watch to end")
    assert leases(local_etcd) == before
    leader.renew()


def test_a_limit_of_nothing_does_not_wait(sessions: Sessions) -> None:
    leader, _ = sessions.lead()
    with pytest.raises(CalledOff):
        sessions.lead()
    leader.resign()
    sessions.lead()


def test_a_limit_ends_the_wait(sessions: Sessions) -> None:
    sessions.lead()
    before = time.monotonic()
    with pytest.raises(CalledOff):
        acquire(sessions.session(), Waiting(None, 0.3))
    assert time.monotonic() - before >= 0.3


def test_notes_are_kept_over_terms(sessions: Sessions) -> None:
    first, _ = sessions.lead()
    other = sessions.session()
    assert other.read("history") is None
    other.write("history", b"\x00 any \xff")
    assert first.read("history") == b"\x00 any \xff"
    first.resign()
    first.write("request", b"7")
    second, _ = sessions.lead()
    assert second.read("history") == b"\x00 any \xff"
    assert second.read("request") == b"7"


def test_anybody_can_look(sessions: Sessions) -> None:
    assert sessions.look() == (0, None, None, None)
    leader, claim = sessions.lead()
    standing = sessions.look()
    assert standing.term == claim.term
    assert standing.leader is not None
    assert standing.leader["pid"] == os.getpid()
    assert standing.leader["lease"] == LEASE
    assert "token" not in standing.leader
    assert standing.ends is not None
    assert 0 < standing.ends <= LEASE
    leader.resign()
    assert sessions.look() == (claim.term, None, None, None)


def test_waiters_send_no_queries(sessions: Sessions, local_etcd: Etcd) -> None:
    sessions.lead()
    standbys = [sessions.standby() for _ in range(20)]
    before = local_etcd.queries()
    threading.Event().wait(1.0)
    assert local_etcd.queries() == before
    assert all(each.result is None for each in standbys)


def test_a_waiter_counts_the_lease_itself(make: Callable[..., Sessions], local_etcd: Etcd) -> None:
    lease = 1.0
    sessions = make(lease)
    leader, _ = sessions.lead()
    standby = sessions.standby()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    longer = local_etcd.post("/v3/lease/grant", {"TTL": "600"})["ID"]  # etcd would delete the key then
    renewed = time.monotonic()
    local_etcd.post("/v3/kv/put", {"key": found["key"], "value": found["value"], "lease": longer})
    assert standby.claim().takes_over
    assert standby.at > renewed + lease
    with pytest.raises(LeadershipLost):
        leader.renew()


def test_each_renewal_moves_the_end_of_the_count(make: Callable[..., Sessions]) -> None:
    lease = 1.0
    sessions = make(lease)
    leader, _ = sessions.lead()
    standby = sessions.standby()
    confirmed = 0.0
    for _ in range(6):
        confirmed = leader.renew()
        threading.Event().wait(lease / 4)
    if confirmed + lease > time.monotonic():  # this thread was not kept from renewing
        assert standby.result is None
    assert standby.claim().takes_over
    assert standby.at > confirmed + lease


@pytest.mark.slow
@pytest.mark.parametrize("heir", ["living", "none"])
def test_a_resignation_wakes_few_of_many_waiters(
    heir: str, sessions: Sessions, local_etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiters = 50
    spread = 0.5 if heir == "living" else 0.1  # for a slow machine
    monkeypatch.setattr(turns, "_SPREAD", spread)
    monkeypatch.setattr(turns, "_DRAWING", 0.02 if heir == "living" else math.inf)
    leader, claim = sessions.lead()
    parked = local_etcd.sessions()
    standbys = [sessions.start_standby() for _ in range(waiters)]
    until(lambda: local_etcd.sessions() == parked + waiters, "the candidates to wait")
    note: dict[str, object] = {"key": to_base64(f"{sessions.engine.name}/.leaderlock/heir")}
    if heir == "living":
        until(lambda: local_etcd.post("/v3/kv/range", note).get("kvs"), "an heir")
    monkeypatch.setattr(turns, "_DRAWING", math.inf)
    threading.Event().wait(0.5)
    before, resigned = local_etcd.queries(), time.monotonic()
    leader.resign()
    until(lambda: any(each.has_ended for each in standbys), "a candidate to lead")
    (successor,) = (each for each in standbys if each.has_ended)
    assert successor.claim().term > claim.term
    if heir == "living":  # the first of the others comes after half of the time or so
        assert successor.at - resigned < spread * LEASE / 4
    threading.Event().wait(1.0)
    assert local_etcd.queries() - before < waiters  # each of them would send three requests


def test_a_waiter_that_leaves_is_no_heir(
    sessions: Sessions, local_etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_DRAWING", 0.0)
    note: dict[str, object] = {"key": to_base64(f"{sessions.engine.name}/.leaderlock/heir")}
    sessions.lead()
    standby = sessions.standby()
    until(lambda: local_etcd.post("/v3/kv/range", note).get("kvs"), "an heir")
    standby.cancel()
    assert "kvs" not in local_etcd.post("/v3/kv/range", note)


def test_a_lease_of_less_than_a_second_more_is_rounded_up(
    make: Callable[..., Sessions], local_etcd: Etcd
) -> None:
    sessions = make(lease=2.2)
    sessions.lead()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    assert local_etcd.post("/v3/lease/timetolive", {"ID": found["lease"]})["grantedTTL"] == "3"


def test_a_lease_that_was_rounded_up_is_counted_from_the_request(make: Callable[..., Sessions]) -> None:
    leader, _ = make(lease=2.2).lead()
    before = time.monotonic()
    assert before <= leader.renew()


def test_a_lease_that_etcd_lengthens_is_said_to_be_longer(
    make: Callable[..., Sessions], caplog: pytest.LogCaptureFixture
) -> None:
    sessions = make(lease=1.0)
    sessions.lead()
    assert "the shortest lease of this etcd is 2 s" in caplog.text


def test_a_key_of_another_program_is_refused(sessions: Sessions, local_etcd: Etcd) -> None:
    local_etcd.post("/v3/kv/put", {"key": key(sessions), "value": to_base64("theirs")})
    for attempt in (sessions.lead, sessions.look):
        with pytest.raises(EngineUnusable, match="another program has written the key"):
            attempt()
    (found,) = local_etcd.post("/v3/kv/range", {"key": key(sessions)})["kvs"]
    assert from_base64(found["value"]) == b"theirs"


def test_a_key_that_was_copied_without_its_lease_is_refused(
    sessions: Sessions, local_etcd: Etcd
) -> None:
    _, claim = sessions.lead()
    value = to_base64(str(claim.proof["value"]))
    local_etcd.post("/v3/kv/put", {"key": key(sessions), "value": value})
    with pytest.raises(EngineUnusable, match="has no lease"):
        sessions.lead()


def test_a_full_database_is_named_and_the_leader_may_lead_on(
    sessions: Sessions, local_etcd: Etcd
) -> None:
    leader, _ = sessions.lead()
    (member,) = local_etcd.post("/v3/cluster/member/list", {})["members"]
    alarm: dict[str, object] = {"memberID": member["ID"], "alarm": "NOSPACE"}
    local_etcd.post("/v3/maintenance/alarm", {**alarm, "action": "ACTIVATE"})
    try:
        with pytest.raises(EngineUnreachable, match="database space exceeded"):
            leader.renew()
    finally:
        local_etcd.post("/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"})
    leader.renew()


def test_a_forked_child_neither_renews_nor_resigns_nor_stands(sessions: Sessions) -> None:
    leader, _ = sessions.lead()

    def child() -> bool:
        for call in (leader.renew, leader.resign, lambda: acquire(leader, Waiting(None, 0))):
            with pytest.raises(LeadershipLost, match="forked child"):
                call()
        leader.close()
        return True

    assert forked(child) == 0
    leader.renew()
