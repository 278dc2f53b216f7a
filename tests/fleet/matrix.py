"""The engines of the fault matrix, and the faults that strike each of them."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.fleet import faults
from tests.fleet.containers import Fleet
from tests.fleet.faults import Fault
from tests.fleet.network import Network, Place
from tests.fleet.servers import Etcd, PostgreSQL, Redis, Server, ZooKeeper


class Kind(NamedTuple):
    """A kind of fleet.

    Attributes:
        engine: the module of `leaderlock.engines`.
        make: makes the server.
        tiers: see `Fleet`.
        faults: those that make a difference there.
    """

    engine: str
    make: Callable[[Place], Server]
    tiers: int
    faults: list[Fault]


_TIERED = [
    fault
    for fault in faults.OF_CANDIDATES
    if fault.strike
    in (faults.kill_worker, faults.kill_container, faults.terminate, faults.stop, faults.cut)
]
_ALONE = [*faults.OF_CANDIDATES, *faults.OF_SERVERS]

KINDS = {
    "PostgreSQL": Kind("postgresql", PostgreSQL, 1, _ALONE),
    "PostgreSQL, two tiers": Kind("postgresql", PostgreSQL, 2, _TIERED),
    "PostgreSQL, synchronous pair": Kind(
        "postgresql", lambda place: PostgreSQL(place, 2), 1, faults.OF_PAIRS
    ),
    "ZooKeeper": Kind("zookeeper", ZooKeeper, 1, _ALONE),
    "ZooKeeper, two tiers": Kind("zookeeper", ZooKeeper, 2, _TIERED),
    "ZooKeeper, three nodes": Kind("zookeeper", lambda place: ZooKeeper(place, 3), 1, faults.OF_NODES),
    "etcd": Kind("etcd", Etcd, 1, _ALONE),
    "etcd, two tiers": Kind("etcd", Etcd, 2, _TIERED),
    "etcd, three nodes": Kind("etcd", lambda place: Etcd(place, 3), 1, faults.OF_NODES),
    "Redis": Kind("redis", Redis, 1, _ALONE),
    "Redis, two tiers": Kind("redis", Redis, 2, _TIERED),
}
KINDS = {
    name: kind
    for name, kind in KINDS.items()
    if importlib.util.find_spec(f"leaderlock.engines.{kind.engine}")
}


@contextlib.contextmanager
def fleet_of(name: str, lease: float, variant: str = "") -> Iterator[Fleet]:
    """A complete fleet of a kind, in a network of its own."""
    with Network() as network:
        kind = KINDS[name]
        server = kind.make(network)
        server.start()
        fleet = Fleet(server, network, lease=lease, tiers=kind.tiers, variant=variant)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.close()
