"""The turns of candidates that an engine wakes all at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

from leaderlock.engines import Waiting
from leaderlock.engines.leased import turns
from leaderlock.engines.leased.turns import Turns
from tests.fleet.servers import Redis
from tests.fleet.sessions import Sessions, acquire
from tests.processes import until


def settled(counter: Callable[[], int]) -> bool:
    """Whether a server's counter stands still for a while, apart from the question for it."""
    before = counter()
    time.sleep(1.0)
    return counter() - before <= 2


@pytest.mark.parametrize("candidates", [1, 10, 1000, 50_000])
def test_of_any_number_of_candidates_few_try_at_the_same_time(candidates: int) -> None:
    pauses = sorted(Turns().pause(1.0) for _ in range(candidates))
    assert 0 <= pauses[0] <= pauses[-1] <= turns._SPREAD
    soon = (
        pauses[0] + turns._SPREAD / 10
    )  # a tenth of the spread, for the first one's claim and the news of it
    assert sum(pause <= soon for pause in pauses) < 100


def test_the_heir_tries_at_once_until_the_next_term() -> None:
    turn = Turns()
    assert turn.offer(1.0) < math.inf
    turn.heir = turn.ticket
    assert turn.is_heir
    assert turn.pause(1.0) == 0
    assert turn.offer(1.0) == math.inf
    turn.draw()
    assert not turn.is_heir


def test_another_ones_ticket_makes_no_heir() -> None:
    turn = Turns()
    turn.heir = Turns().ticket
    assert not turn.is_heir
    assert turn.offer(1.0) == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("heir", ["living", "none"])
def test_a_resignation_in_redis_wakes_few_of_many_waiters(
    heir: str, local_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiters, lease = 50, 15.0
    short = Sessions(local_redis.url("herd"), 1.0)  # a new election begins with a lease of quarantine
    acquire(short.session(), Waiting())
    short.close()
    sessions = Sessions(local_redis.url("herd"), lease)
    try:
        monkeypatch.setattr(turns, "_SPREAD", 0.4)  # for a slow machine
        monkeypatch.setattr(turns, "_DRAWING", 0.02 if heir == "living" else math.inf)
        leader = sessions.session()
        claim = acquire(leader, Waiting())
        standbys = [sessions.start_standby() for _ in range(waiters)]
        until(lambda: sessions.look().waiting == waiters, "the candidates to wait")
        if heir == "living":
            until(lambda: local_redis.call("HGET", "leaderlock:{herd}", "heir"), "an heir")
        monkeypatch.setattr(turns, "_DRAWING", math.inf)
        until(lambda: settled(local_redis.queries), "the candidates to be silent")
        before = local_redis.queries()
        leader.resign()
        until(lambda: any(each.has_ended for each in standbys), "a candidate to lead")
        (successor,) = (each for each in standbys if each.has_ended)
        assert successor.claim().term > claim.term
        until(lambda: settled(local_redis.queries), "the candidates to be silent")
        assert local_redis.queries() - before < 3 * waiters  # of seven each, with a script's commands
    finally:
        sessions.close()


def test_an_heir_in_redis_that_leaves_is_no_heir(
    local_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_DRAWING", 0.0)
    short = Sessions(local_redis.url("left"), 1.0)
    acquire(short.session(), Waiting())
    short.close()
    sessions = Sessions(local_redis.url("left"), 60.0)
    try:
        acquire(sessions.session(), Waiting())
        standby = sessions.start_standby()
        until(
            lambda: standby.has_ended or local_redis.call("HGET", "leaderlock:{left}", "heir"),
            "an heir",
        )
        standby.cancel()
        assert not local_redis.call("HGET", "leaderlock:{left}", "heir")
    finally:
        sessions.close()
