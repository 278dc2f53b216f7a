"""Elections in three real ZooKeepers: a server fails, or is cut off from the others."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from leaderlock import EngineUnreachable
from leaderlock.engines import Session
from tests.fleet.network import Network
from tests.fleet.servers import ZooKeeper
from tests.fleet.sessions import Sessions

pytestmark = pytest.mark.slow

LEASE = 4.0

_names = itertools.count()


@pytest.fixture
def make(network: Network, zookeeper_ensemble: ZooKeeper) -> Iterator[Callable[..., Sessions]]:
    """Makes the sessions of one election; they know the servers of these numbers, or all."""
    network.add("client")
    path = f"/app/ensemble{next(_names)}"
    made: list[Sessions] = []

    def sessions(*nodes: int) -> Sessions:
        hosts = (
            f"{zookeeper_ensemble.address(node)}:{zookeeper_ensemble.port}"
            for node in nodes or zookeeper_ensemble.nodes
        )
        url = f"zookeeper://{','.join(hosts)}{path}"
        visitor = Sessions(url, LEASE, lambda: 0)
        session = visitor.session()
        made.append(Sessions(url, LEASE, lambda: network.inside("client", session.look).waiting or 0))
        made.append(visitor)
        return made[-2]

    yield sessions
    for each in made:
        each.close()


def serving(session: Session) -> str:
    """The address of the server that a session is connected to."""
    wire = session._connection.wire  # type: ignore[attr-defined]
    return str(wire.getpeername()[0])


def renew(session: Session, until: float) -> float:
    """A renewal, tried again like a leader's thread does, until it is confirmed."""
    while True:
        assert time.monotonic() < until
        with contextlib.suppress(EngineUnreachable):
            return session.renew()


def follower(server: ZooKeeper) -> int:
    return next(node for node in server.nodes if node != server.leader())


def test_a_server_that_is_cut_off_from_the_others_answers_reads_and_confirms_nothing(
    network: Network, zookeeper_ensemble: ZooKeeper, make: Callable[..., Sessions]
) -> None:
    alone = follower(zookeeper_ensemble)
    others = [node for node in zookeeper_ensemble.nodes if node != alone]
    everywhere, there, here = make(), make(*others), make(alone)
    leader, claim = network.inside("client", here.lead)
    leader.write("history", b"[]")
    standby = network.inside("client", there.standby)
    confirmed = leader.renew()
    network.part(zookeeper_ensemble.host(alone), *(zookeeper_ensemble.host(node) for node in others))
    assert leader.read("history") == b"[]"
    with pytest.raises(EngineUnreachable):
        leader.renew()
    assert standby.claim().term > claim.term
    assert standby.at > confirmed + LEASE
    assert network.inside("client", everywhere.look).term == standby.claim().term


def test_a_leader_leads_on_when_its_server_dies(
    network: Network, zookeeper_ensemble: ZooKeeper, make: Callable[..., Sessions]
) -> None:
    sessions = make()
    leader, claim = network.inside("client", sessions.lead)
    standby = network.inside("client", sessions.standby)
    confirmed = leader.renew()
    node = follower(zookeeper_ensemble)
    while serving(leader) != zookeeper_ensemble.address(node):
        leader._connection._handler.reconnect()  # type: ignore[attr-defined]
        confirmed = renew(leader, confirmed + LEASE)
    zookeeper_ensemble.crash(node)
    renew(leader, confirmed + LEASE)
    assert standby.result is None
    assert network.inside("client", sessions.look).term == claim.term


def test_a_leader_leaves_a_server_that_is_stopped(
    network: Network, zookeeper_ensemble: ZooKeeper, make: Callable[..., Sessions]
) -> None:
    sessions = make()
    leader, claim = network.inside("client", sessions.lead)
    confirmed = leader.renew()
    node = follower(zookeeper_ensemble)
    while serving(leader) != zookeeper_ensemble.address(node):
        leader._connection._handler.reconnect()  # type: ignore[attr-defined]
        confirmed = renew(leader, confirmed + LEASE)
    zookeeper_ensemble.pause(node)
    renew(leader, confirmed + LEASE)
    assert serving(leader) != zookeeper_ensemble.address(node)
    assert network.inside("client", sessions.look).term == claim.term


def test_a_waiter_waits_on_through_another_server(
    network: Network, zookeeper_ensemble: ZooKeeper, make: Callable[..., Sessions]
) -> None:
    node = follower(zookeeper_ensemble)
    third = next(n for n in zookeeper_ensemble.nodes if n not in (node, zookeeper_ensemble.leader()))
    sessions, both = make(zookeeper_ensemble.leader()), make(node, third)
    leader, claim = network.inside("client", sessions.lead)
    standby = network.inside("client", both.standby)
    if serving(standby.session) != zookeeper_ensemble.address(node):
        node = third
    zookeeper_ensemble.crash(node)
    leader.renew()
    leader.resign()
    assert standby.claim().term > claim.term
