"""Real servers for the tests of a fleet: started once for each module that asks, whole for each test.

`postgresql`, `postgresql_pair`, `zookeeper`, `zookeeper_ensemble`, `etcd`, `etcd_cluster` and `redis`
stand in a `network`, whose links can be cut. `local_postgresql`, `local_zookeeper`, `local_etcd` and
`local_redis` listen on this host's loopback. After each test, nodes that were stopped run again, and
links are healed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.fleet.network import Loopback, Network, Place
from tests.fleet.servers import Etcd, PostgreSQL, Redis, Server, ZooKeeper
from tests.processes import until

AnyServer = TypeVar("AnyServer", bound=Server)


@pytest.fixture(scope="module")
def network_of_module() -> Iterator[Network]:
    if os.geteuid() != 0:
        pytest.fail("the tests of a fleet need root: they make network namespaces", pytrace=False)
    with Network() as network:
        yield network


@pytest.fixture
def network(network_of_module: Network) -> Iterator[Network]:
    """Hosts with cables to a switch; whole again after the test."""
    yield network_of_module
    network_of_module.heal()


@pytest.fixture(scope="module")
def loopback() -> Iterator[Loopback]:
    """This host's loopback, for servers."""
    with Loopback() as place:
        yield place


class Servers:
    """The servers of a module in one place, each started when the first test asks for it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers: dict[object, Any] = {}

    def get(self, make: Callable[[Place], AnyServer]) -> Iterator[AnyServer]:
        """The server that a function makes, for one test; whole again afterwards."""
        if make not in self._servers:
            server = make(self._place)
            server.start()
            self._servers[make] = server
        if not isinstance(self._place, Network):
            # A test may count them, and those of the test before may not have ended on the server.
            until(lambda: self._servers[make].sessions() == 0, "the sessions of earlier tests to end")
        yield self._servers[make]
        if isinstance(self._place, Network):
            self._place.heal()
        self._servers[make].repair()


@pytest.fixture(scope="module")
def servers(network_of_module: Network) -> Servers:
    """Servers in the network."""
    return Servers(network_of_module)


@pytest.fixture(scope="module")
def local_servers(loopback: Loopback) -> Servers:
    """Servers on the loopback."""
    return Servers(loopback)


def pair(place: Place) -> PostgreSQL:
    return PostgreSQL(place, 2)


def ensemble(place: Place) -> ZooKeeper:
    return ZooKeeper(place, 3)


def cluster(place: Place) -> Etcd:
    return Etcd(place, 3)


@pytest.fixture
def postgresql(servers: Servers) -> Iterator[PostgreSQL]:
    yield from servers.get(PostgreSQL)


@pytest.fixture
def postgresql_pair(servers: Servers) -> Iterator[PostgreSQL]:
    """A primary, and a synchronous standby."""
    yield from servers.get(pair)


@pytest.fixture
def zookeeper(servers: Servers) -> Iterator[ZooKeeper]:
    yield from servers.get(ZooKeeper)


@pytest.fixture
def zookeeper_ensemble(servers: Servers) -> Iterator[ZooKeeper]:
    """Three nodes."""
    yield from servers.get(ensemble)


@pytest.fixture
def etcd(servers: Servers) -> Iterator[Etcd]:
    yield from servers.get(Etcd)


@pytest.fixture
def etcd_cluster(servers: Servers) -> Iterator[Etcd]:
    """Three nodes."""
    yield from servers.get(cluster)


@pytest.fixture
def redis(servers: Servers) -> Iterator[Redis]:
    yield from servers.get(Redis)


@pytest.fixture
def local_postgresql(local_servers: Servers) -> Iterator[PostgreSQL]:
    yield from local_servers.get(PostgreSQL)


@pytest.fixture
def local_zookeeper(local_servers: Servers) -> Iterator[ZooKeeper]:
    yield from local_servers.get(ZooKeeper)


@pytest.fixture
def local_etcd(local_servers: Servers) -> Iterator[Etcd]:
    yield from local_servers.get(Etcd)


@pytest.fixture
def local_redis(local_servers: Servers) -> Iterator[Redis]:
    yield from local_servers.get(Redis)
