"""The thread that renews a leader's claim, with an engine that answers or does not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from threading import Event, Lock

import pytest
import redis

from leaderlock import Election, EngineUnreachable, EngineUnusable
from leaderlock.engines import LeasedEngine, engine_of
from leaderlock.engines.leased.notes import REQUEST, holds
from leaderlock.engines.leased.renewal import Renewal
from leaderlock.engines.leased.session import Session
from tests.fleet.servers import Redis
from tests.processes import PATIENCE, until

LEASE = 1.0


class Told:
    """A session that only renews, and what it was told, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.mutex = Lock()

    def renew(self) -> float:
        with self.mutex:
            self.calls.append("renew")
        return time.monotonic()


def renewing(session: Told, ask: Callable[[], object]) -> Renewal:
    engine = engine_of("etcd://host/app/health", LEASE)
    assert isinstance(engine, LeasedEngine)
    either: Session = session  # type: ignore[assignment]
    renewal = Renewal(engine, either, time.monotonic(), lambda _: None)
    renewal.start(lambda: None, ask, lambda: None)
    return renewal


def test_a_leader_that_hears_nothing_sends_no_renewal() -> None:
    session, tries = Told(), 5
    heard, answers = Event(), Event()

    def ask() -> None:
        with session.mutex:
            session.calls.append("ask")
        if not answers.is_set():
            if len(session.calls) >= tries:
                heard.set()
            raise EngineUnreachable("no answer")

    renewal = renewing(session, ask)
    try:
        assert heard.wait(PATIENCE)
        with session.mutex:
            assert set(session.calls) == {"ask"}
        answers.set()
        until(lambda: "renew" in session.calls, "a renewal")
    finally:
        renewal.end()
    first = session.calls.index("renew")
    assert session.calls[first - 1] == "ask"


@pytest.mark.parametrize("error", [EngineUnusable("no right to read"), ValueError("a damaged note")])
def test_an_answer_of_any_kind_lets_the_leader_renew(error: Exception) -> None:
    session = Told()

    def ask() -> None:
        raise error

    renewal = renewing(session, ask)
    try:
        until(lambda: len(session.calls) >= 2, "renewals")
    finally:
        renewal.end()


def test_a_leader_whose_task_has_returned_asks_before_each_renewal_too(local_redis: Redis) -> None:
    url = local_redis.url("holds")
    engine = engine_of(url, LEASE)
    assert isinstance(engine, LeasedEngine)
    candidate = Election(url, lease=LEASE).start(lambda leadership: None)
    session = engine.connect()
    try:
        assert candidate.wait(PATIENCE)
        term = session.look().term
        until(lambda: holds(session, term), "the leader to write that it holds")
        client = redis.Redis(local_redis.address(), local_redis.port, socket_timeout=PATIENCE)
        with contextlib.closing(client), client.monitor() as monitor:  # type: ignore[no-untyped-call]
            commands = [monitor.next_command()["command"] for _ in range(60)]
        assert sum(map(is_question, commands)) >= 3  # a renewal is some of these commands
    finally:
        session.close()
        candidate.stop()


def is_question(command: str) -> bool:
    """Whether a command reads the note of a request."""
    return command.startswith("GET ") and command.endswith(f":{REQUEST}")
