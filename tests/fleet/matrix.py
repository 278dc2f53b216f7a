"""The engines of the fault matrix, and the faults that strike each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.fleet import faults
from tests.fleet.containers import Fleet
from tests.fleet.faults import Fault
from tests.fleet.network import Network, Place
from tests.fleet.servers import Etcd, PostgreSQL, Redis, Server, ZooKeeper

LOCAL = 0.3
"""Seconds to a leader of the same container, or after a resignation."""

_SESSION = 1.6 / 1.1
"""A session of ZooKeeper is half as long again as the lease, and its end is rounded up to a tick."""


_AGREEMENT = ZooKeeper.sync_limit * ZooKeeper.tick


class Kind(NamedTuple):
    """A kind of fleet.

    Attributes:
        make: makes the server.
        tiers: see `Fleet`.
        faults: those that make a difference there.
        apart: whether the first container knows node 1 alone, and the other one knows the rest.
        factor: what a lease comes to in this engine.
        more: seconds until the nodes agree again.
        heard: leases more after a fault in which a cut-off candidate is heard: anything that it sends
            prolongs its session.
    """

    make: Callable[[Place], Server]
    tiers: int
    faults: list[Fault]
    apart: bool = False
    factor: float = 1.0
    more: float = 0.0
    heard: float = 0.0

    def bound(self, fault: Fault, lease: float) -> float:
        """Seconds within which the next leader must come after a fault, on a machine without load."""
        if fault.leases == 0 or (self.tiers == 2 and fault.strike is faults.kill_worker):
            return LOCAL
        leases = fault.leases + (self.heard if fault.strike is faults.hear_nothing else 0.0)
        return leases * lease * self.factor + self.more


_TIERED = [
    fault
    for fault in faults.OF_CANDIDATES
    if fault.strike
    in (faults.kill_worker, faults.kill_container, faults.terminate, faults.stop, faults.cut)
]
_ALONE = [*faults.OF_CANDIDATES, *faults.OF_SERVERS]


def pair(place: Place) -> PostgreSQL:
    return PostgreSQL(place, 2)


def ensemble(place: Place) -> ZooKeeper:
    return ZooKeeper(place, 3)


def cluster(place: Place) -> Etcd:
    return Etcd(place, 3)


KINDS = {
    "PostgreSQL": Kind(PostgreSQL, 1, _ALONE),
    "PostgreSQL, two tiers": Kind(PostgreSQL, 2, _TIERED),
    "PostgreSQL, synchronous pair": Kind(pair, 1, faults.OF_PAIRS),
    "ZooKeeper": Kind(ZooKeeper, 1, _ALONE, factor=_SESSION, heard=0.4),
    "ZooKeeper, two tiers": Kind(ZooKeeper, 2, _TIERED, factor=_SESSION),
    "ZooKeeper, three nodes": Kind(ensemble, 1, faults.OF_NODES, factor=_SESSION, more=_AGREEMENT),
    "ZooKeeper, a node of one's own": Kind(
        ensemble, 1, faults.OF_OWN_NODES, apart=True, factor=_SESSION, more=_AGREEMENT
    ),
    "etcd": Kind(Etcd, 1, _ALONE),
    "etcd, two tiers": Kind(Etcd, 2, _TIERED),
    "etcd, three nodes": Kind(cluster, 1, faults.OF_NODES),
    "etcd, a node of one's own": Kind(cluster, 1, faults.OF_OWN_NODES, apart=True),
    "Redis": Kind(Redis, 1, _ALONE),
    "Redis, two tiers": Kind(Redis, 2, _TIERED),
}


@contextlib.contextmanager
def fleet_of(name: str, lease: float, variant: str = "") -> Iterator[Fleet]:
    """A complete fleet of a kind, in a network of its own."""
    with Network() as network:
        kind = KINDS[name]
        server = kind.make(network)
        server.start()
        fleet = Fleet(
            server,
            network,
            lease=lease,
            tiers=kind.tiers,
            variant=variant,
            reach=([1], server.nodes[1:]) if kind.apart else ((), ()),
        )
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.close()
