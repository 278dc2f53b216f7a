"""The ground that the tests of a fleet stand on: servers start, answer, are cut off, and heal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.conftest import Servers
from tests.fleet.containers import Container, control_groups
from tests.fleet.network import Network, Place
from tests.fleet.servers import Etcd, PostgreSQL, Redis, Server, ZooKeeper
from tests.processes import until

pytestmark = pytest.mark.slow

SERVERS: dict[str, Callable[[Place], Server]] = {
    "postgresql": PostgreSQL,
    "zookeeper": ZooKeeper,
    "etcd": Etcd,
    "redis": Redis,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Server]:
    yield from servers.get(SERVERS[request.param])


@pytest.fixture(params=SERVERS)
def local(request: pytest.FixtureRequest, local_servers: Servers) -> Iterator[Server]:
    yield from local_servers.get(SERVERS[request.param])


def reaches(network: Network, server: Server, node: int = 1) -> bool:
    """Whether a connection from another host comes about within a second."""
    try:
        network.connect(server.host(node), server.port, origin="client", timeout=1).close()
    except OSError:
        return False
    return True


def test_a_server_answers_is_cut_off_and_heals(network: Network, server: Server) -> None:
    assert reaches(network, server)
    network.cut(server.host())
    assert not reaches(network, server)
    assert server.is_ready(1)  # on its own host
    network.heal(server.host())
    until(lambda: reaches(network, server))
    network.drop(server.host())
    assert not reaches(network, server)


def test_a_test_finds_links_healed(network: Network, server: Server) -> None:
    assert reaches(network, server)


@pytest.mark.parametrize("lost", ["in", "out"])
def test_a_way_is_lost_alone(network: Network, lost: str) -> None:
    sender, receiver = (
        network.inside(host, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for host in ("sender", "receiver")
    )
    with sender, receiver:
        for end, host in ((sender, "sender"), (receiver, "receiver")):
            end.bind((network.hosts[host], 9))
            end.settimeout(1)
        network.one_way("receiver", "in" if lost == "in" else "out")
        sender.sendto(b"there", (network.hosts["receiver"], 9))
        if lost == "in":
            with pytest.raises(TimeoutError):
                receiver.recv(9)
            receiver.sendto(b"back", (network.hosts["sender"], 9))
            assert sender.recv(9) == b"back"
        else:
            assert receiver.recv(9) == b"there"
            with pytest.raises(PermissionError):  # a firewall's answer to its own host (EPERM)
                receiver.sendto(b"back", (network.hosts["sender"], 9))


def test_a_parted_host_reaches_the_rest(network: Network, redis: Redis) -> None:
    for host in ("client", "other"):
        network.connect(redis.host(), redis.port, origin=host).close()
    network.part(redis.host(), "client")
    assert not reaches(network, redis)
    network.connect(redis.host(), redis.port, origin="other").close()


def test_a_server_restarts_and_crashes(server: Server) -> None:
    first = server.pids()
    server.restart()
    assert server.is_ready(1)
    second = server.pids()
    server.crash()
    assert server.running == []
    assert not server.is_ready(1)
    assert not {pid for pid in first + second if _state(pid) not in ("gone", "Z")}
    server.start()
    assert server.is_ready(1)


def test_a_paused_server_accepts_and_does_not_answer(server: Server) -> None:
    server.pause()
    pids = server.pids()
    until(lambda: {_state(pid) for pid in pids} == {"T"})
    with server.place.connect(server.host(), server.port, origin=server.host()) as connection:
        connection.settimeout(0.3)
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    server.resume()
    assert {_state(pid) for pid in pids} != {"T"}
    server.wait()


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return text.rpartition(")")[2].split()[0]


def test_a_server_counts_requests_and_sessions(server: Server) -> None:
    before = server.queries()
    request(server)
    until(lambda: server.queries() > before)
    assert server.sessions() == 0


def request(server: Server) -> object:
    """Send one request, as a client does."""
    if isinstance(server, Etcd):
        return server.post("/v3/kv/range", {"key": "AA=="})
    return server.is_ready(1)


def test_a_server_on_the_loopback_answers(local: Server) -> None:
    local.place.connect(local.host(), local.port, origin="client").close()
    assert local.address() in local.url()


@pytest.mark.parametrize("name", ["zookeeper_ensemble", "etcd_cluster"])
def test_three_nodes_go_on_without_their_leader(
    request: pytest.FixtureRequest, network: Network, name: str
) -> None:
    server: Server = request.getfixturevalue(name)
    leader = server.leader()
    network.cut(server.host(leader))
    server.wait(*[node for node in server.nodes if node != leader])
    server.crash(leader)
    assert server.leader() != leader


def test_a_standby_has_all_that_its_primary_has_confirmed(postgresql_pair: PostgreSQL) -> None:
    postgresql_pair.sql("CREATE TABLE kept AS SELECT 7 AS number")
    postgresql_pair.crash(postgresql_pair.primary)
    postgresql_pair.promote()
    assert postgresql_pair.sql("SELECT number FROM kept") == [(7,)]
    postgresql_pair.sql("INSERT INTO kept VALUES (8)")
    postgresql_pair.repair()
    assert sorted(postgresql_pair.running) == [1, 2]


def test_the_memory_of_a_server_is_small(server: Server) -> None:
    assert 1 < server.memory() < 200


def test_a_network_leaves_nothing_behind() -> None:
    with Network() as network:
        process = network.start("host", ["sleep", "1000"])
        space, directory = network.namespace("host"), network.directory
        assert space in os.listdir("/run/netns")
    assert process.returncode == -signal.SIGKILL
    assert space not in os.listdir("/run/netns")
    assert not directory.exists()


MAKER = """
import sys
from pathlib import Path
from tests.fleet.containers import Container
from tests.fleet.network import Network
network = Network()
container = Container(network, "box")
container.start("sleep", "1000", output=network.directory / "output")
print(network.namespace("box"), container.workers[0].pid, network.directory, flush=True)
input()
"""


def test_a_killed_test_leaves_nothing_behind() -> None:
    # The process that made the network is killed; the next one removes what it left.
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with maker:
        assert maker.stdout is not None
        space, pid, directory = maker.stdout.readline().split()
        maker.kill()
    with Network() as network:
        Container(network, "box").close()
        assert space not in os.listdir("/run/netns")
    until(lambda: _state(int(pid)) in ("gone", "Z"))
    assert not Path(directory).exists()
    if groups := control_groups():
        assert not (groups / space).exists()
