"""What waiting candidates cost a server, by the server's own counters."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from leaderlock.engines import Session, Waiting
from leaderlock.engines.leased import turns
from tests.fleet.servers import PostgreSQL, Server, ZooKeeper
from tests.fleet.sessions import Sessions, acquire
from tests.fleet.test_tiers import PROGRAM
from tests.processes import Child, until, until_parked

pytestmark = pytest.mark.slow

CANDIDATES = 100
RENEWALS = 8
PAUSE = 0.5
"""Seconds between two renewals: the window is long enough to notice a candidate that polls."""
REPORTED = 11.0
"""Seconds after which an idle backend of PostgreSQL has reported its transactions (10 s)."""
CONTAINERS, WORKERS = 4, 3


def renew(leader: Session) -> None:
    """A window in which only the leader renews."""
    for _ in range(RENEWALS):
        time.sleep(PAUSE)
        leader.renew()


def queries_of(server: Server, function: Callable[[], object]) -> int:
    """The queries that the server counts while a function runs."""
    before = settled(server)
    function()
    return settled(server) - before


def settled(server: Server) -> int:
    if isinstance(server, PostgreSQL):
        time.sleep(REPORTED)
    return server.queries()


@pytest.fixture
def add(request: pytest.FixtureRequest) -> Iterator[Callable[[Sessions], None]]:
    """Let candidates wait in an election."""
    sessions: list[Sessions] = []

    def let_wait(found: Sessions) -> None:
        sessions.append(found)
        parked = found.parked()
        for _ in range(CANDIDATES):
            found.start_standby()
        until(lambda: found.parked() - parked == CANDIDATES, "the candidates to wait")

    yield let_wait
    for found in sessions:
        found.close()


@pytest.mark.parametrize(
    ("name", "lease"), [("local_postgresql", 60), ("local_etcd", 60), ("local_redis", 5)]
)
def test_a_hundred_waiting_candidates_add_no_query(
    name: str,
    lease: float,
    request: pytest.FixtureRequest,
    add: Callable[[Sessions], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "_DRAWING", math.inf)  # the heir of a term costs a few requests, once
    server: Server = request.getfixturevalue(name)
    parked = server.sessions if name == "local_etcd" else None  # etcd's `look` does not tell
    sessions = Sessions(server.url("load"), lease, parked)
    leader = sessions.session()
    acquire(leader, Waiting())
    alone = queries_of(server, lambda: renew(leader))
    assert alone >= RENEWALS, "the counter does not count the leader's renewals"
    add(sessions)
    assert queries_of(server, lambda: renew(leader)) == alone


def connections_of(server: ZooKeeper) -> dict[str, tuple[int, str]]:
    """The number of packets of each session, and the last one's kind."""
    found = re.findall(r"recved=(\d+).*?sid=(\w+),lop=(\w+)", server.ask("cons"))
    return {sid: (int(packets), kind) for packets, sid, kind in found}


def watches_of(server: ZooKeeper) -> int:
    """How many watches the server has."""
    found = re.search(r"zk_watch_count\t(\d+)", server.ask("mntr"))
    assert found is not None
    return int(found[1])


def test_a_hundred_waiting_candidates_send_zookeeper_only_their_pings(
    local_zookeeper: ZooKeeper, add: Callable[[Sessions], None]
) -> None:
    sessions = Sessions(local_zookeeper.url("load"), 6)
    leader = sessions.session()
    acquire(leader, Waiting())
    [leaders] = connections_of(local_zookeeper)
    add(sessions)
    until(lambda: watches_of(local_zookeeper) == CANDIDATES, "each candidate to watch")
    until(
        lambda: all(
            kind == "PING"
            for sid, (_, kind) in connections_of(local_zookeeper).items()
            if sid != leaders
        ),
        "each candidate to have nothing to send but a ping",
    )
    before, began = connections_of(local_zookeeper), time.monotonic()
    renew(leader)
    after, seconds = connections_of(local_zookeeper), time.monotonic() - began
    assert len(after) == CANDIDATES + 1
    assert after[leaders][0] - before[leaders][0] >= RENEWALS
    for sid in after.keys() - {leaders}:
        packets, kind = after[sid]
        assert kind == "PING"
        # kazoo sends a ping each third of the session at most, which is 8 s here.
        assert packets - before[sid][0] <= seconds / 2 + 1


@pytest.mark.parametrize(
    ("name", "silent"),
    [
        ("local_postgresql", 0),
        ("local_zookeeper", 0),
        ("local_etcd", 1),  # its counter counts watches, and a leader has none
        ("local_redis", 0),
    ],
)
def test_containers_of_several_workers_hold_one_session_each(
    name: str, silent: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Server = request.getfixturevalue(name)
    url = server.url("containers")
    before = server.sessions()
    with ExitStack() as stack:
        for container in range(CONTAINERS):
            within = tmp_path / f"container{container}.lock"
            for worker in range(WORKERS):
                child = stack.enter_context(Child(url, str(within)))
                child.tell(PROGRAM % 5.0)
                if worker:
                    until_parked(within, child.pid)
                else:
                    until(lambda container=container: server.sessions() - before + silent > container)  # type: ignore[misc]
        assert server.sessions() - before == CONTAINERS - silent
