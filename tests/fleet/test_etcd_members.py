"""Elections in an etcd of three members, of which some stop, die or are cut off."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from leaderlock import EngineUnreachable
from leaderlock.engines import Session
from tests.fleet.conftest import Servers, cluster
from tests.fleet.network import Network
from tests.fleet.servers import Etcd
from tests.fleet.sessions import Sessions
from tests.processes import until

pytestmark = pytest.mark.slow  # some seconds each, mostly until three members serve

_names = itertools.count()


@pytest.fixture
def members(local_servers: Servers) -> Iterator[Etcd]:
    """Three members on the loopback."""
    yield from local_servers.get(cluster)


@pytest.fixture
def make() -> Iterator[Callable[..., Sessions]]:
    """Makes the sessions of an election of its own."""
    made: list[Sessions] = []

    def sessions(server: Etcd, lease: float) -> Sessions:
        made.append(Sessions(server.url(f"test{next(_names)}"), lease, server.sessions))
        return made[-1]

    yield sessions
    for each in made:
        each.close()


def renewed(leader: Session, lease: float) -> bool:
    """Whether the leader could renew; the answer must come in good time."""
    before = time.monotonic()
    try:
        leader.renew()
    except EngineUnreachable:
        return False
    finally:
        assert time.monotonic() - before < 2 / 3 * lease
    return True


def watched(server: Etcd) -> int:
    """The member that the only waiter watches."""
    return until(
        lambda: sum(node for node in server.running if server.watch_streams(node)),
        "a watch",
    )


Make = Callable[[Etcd, float], Sessions]


@pytest.mark.parametrize("fault", ["pause", "crash", "stop"])
def test_a_leader_leads_on_whichever_member_fails(make: Make, members: Etcd, fault: str) -> None:
    lease = 30.0
    sessions = make(members, lease)
    leader, claim = sessions.lead()
    for node in members.nodes:
        began = leader.renew()
        getattr(members, fault)(node)
        for _ in range(4):
            until(lambda: renewed(leader, lease), "a renewal")  # another member may have to lead first
        assert leader.renew() < began + lease
        members.repair()
    assert sessions.look().term == claim.term


def test_without_a_majority_nobody_renews_and_nothing_is_lost(make: Make, members: Etcd) -> None:
    lease = 15.0
    sessions = make(members, lease)
    leader, claim = sessions.lead()
    members.pause(1, 2)
    assert not renewed(leader, lease)
    members.resume(1, 2)
    until(lambda: renewed(leader, lease), "a renewal")
    assert sessions.look().term == claim.term


def test_a_restart_of_all_members_leaves_the_leader_leading(make: Make, members: Etcd) -> None:
    lease = 60.0
    sessions = make(members, lease)
    leader, claim = sessions.lead()
    standby = sessions.standby()
    members.crash()
    members.start()
    until(lambda: renewed(leader, lease), "a renewal")
    until(lambda: members.sessions() > 0, "the standby to wait again")
    assert standby.result is None
    assert sessions.look().term == claim.term
    leader.resign()
    assert standby.claim().term > claim.term


def test_a_waiter_leaves_a_member_that_is_stopped_and_disturbs_no_leader(
    make: Make, members: Etcd
) -> None:
    lease = 6.0
    sessions = make(members, lease)
    leader, claim = sessions.lead()
    standby = sessions.standby()
    node = watched(members)
    members.pause(node)
    # Nothing comes from the stopped member, so the waiter tries to lead: the others know better.
    until(
        lambda: renewed(leader, lease) and any(map(members.watch_streams, set(members.nodes) - {node})),
        "the waiter to watch at another member",
    )
    assert standby.result is None
    assert sessions.look().term == claim.term
    leader.resign()
    assert standby.claim().takes_over


@pytest.mark.parametrize("fault", ["crash", "stop"])
def test_a_waiter_goes_on_at_another_member(make: Make, members: Etcd, fault: str) -> None:
    sessions = make(members, 60.0)
    leader, _ = sessions.lead()
    standby = sessions.standby()
    node = watched(members)
    getattr(members, fault)(node)
    assert watched(members) != node
    assert standby.result is None
    until(lambda: renewed(leader, 60.0), "a renewal")
    leader.resign()
    assert standby.claim().takes_over


def test_a_waiter_leaves_a_member_that_is_cut_off_from_the_others(
    make: Make, network: Network, etcd_cluster: Etcd
) -> None:
    def inside() -> None:
        # The leader's lease is longer than the test's patience: the member itself must end the watch.
        sessions = make(etcd_cluster, 60.0)
        leader, _ = sessions.lead()
        standby = sessions.standby()
        node = watched(etcd_cluster)
        others = [etcd_cluster.host(other) for other in etcd_cluster.nodes if other != node]
        network.part(etcd_cluster.host(node), *others)
        until(lambda: renewed(leader, 60.0), "a renewal")
        leader.resign()
        assert standby.claim().takes_over
        standby.session.resign()

    network.add("client")
    network.inside("client", inside)


def test_a_waiter_notices_that_the_link_to_its_member_is_cut(
    make: Make, network: Network, etcd_cluster: Etcd
) -> None:
    def inside() -> None:
        lease = 9.0
        sessions = make(etcd_cluster, lease)
        leader, _ = sessions.lead()
        standby = sessions.standby()
        node = watched(etcd_cluster)
        cut = time.monotonic()
        network.cut(etcd_cluster.host(node))
        until(lambda: renewed(leader, lease), "a renewal")
        leader.resign()
        assert standby.claim().takes_over
        assert standby.at - cut < 3 * lease  # by TCP's keepalives, and not by a question
        standby.session.resign()

    network.add("client")
    network.inside("client", inside)
