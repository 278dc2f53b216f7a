"""Real servers for elections: PostgreSQL, ZooKeeper, etcd and Redis, of one node or of several."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.fleet.network import Place
from tests.processes import PATIENCE, until

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Server:
    """An engine's server of some nodes, which are numbered from 1; a method without numbers means all.

    Args:
        place: where each node is a host of its own.
        nodes: how many there are.

    Attributes:
        running: the numbers of the nodes that run, paused or not.
    """

    scheme = ""
    user = ""
    port = 0
    end_signal = signal.SIGTERM

    def __init__(self, place: Place, nodes: int = 1) -> None:
        self.place = place
        self.nodes = range(1, nodes + 1)
        self._processes: dict[int, subprocess.Popen[Any]] = {}
        for node in self.nodes:
            place.add(self.host(node))

    @property
    def running(self) -> list[int]:
        return [node for node, process in self._processes.items() if process.poll() is None]

    def host(self, node: int = 1) -> str:
        """The name of a node's host, for `Network.cut` and so on."""
        return f"{self.scheme}{len(self.nodes)}-{node}"

    def address(self, node: int = 1) -> str:
        return self.place.hosts[self.host(node)]

    def directory(self, node: int = 1) -> Path:
        """A node's files; its output is in ``output`` there."""
        return self.place.directory / self.host(node)

    def url(self, name: str = "health") -> str:
        """The URL of an election in this server."""
        raise NotImplementedError

    def url_with(self, nodes: Sequence[int], name: str) -> str:
        """`url`, with some of the nodes only."""
        return self.url(name).replace(self.hosts(), self.hosts(nodes))

    def hosts(self, nodes: Sequence[int] = ()) -> str:
        """Address and port of nodes, for a URL; all, if none is named."""
        return ",".join(f"{self.address(node)}:{self.port}" for node in nodes or self.nodes)

    def sessions(self) -> int:
        """How many clients are connected."""
        raise NotImplementedError

    def queries(self) -> int:
        """How many requests of clients the nodes have served; what these methods ask counts as well."""
        raise NotImplementedError

    def leader(self) -> int:
        """The node that the writes go through."""
        return 1

    def command(self, node: int) -> Sequence[str | Path]:
        raise NotImplementedError

    def is_ready(self, node: int) -> bool:
        """Whether a node serves; asked on its own host, so a cut link does not matter."""
        raise NotImplementedError

    def prepare(self, node: int) -> None:
        """Make a node's files before its first start."""

    def start(self, *nodes: int, wait: bool = True) -> None:
        """Start nodes; wait until each serves, unless told otherwise."""
        for node in nodes or self.nodes:
            if not self.directory(node).exists():
                self._make_directory(node)
                self.prepare(node)
            with open(self.directory(node) / "output", "ab") as output:
                self._processes[node] = self.place.start(
                    self.host(node),
                    self.command(node),
                    user=self.user,
                    cwd=self.directory(node),
                    env={"HOME": str(self.directory(node)), "PATH": PATH},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
        if wait:
            self.wait(*nodes)

    def _make_directory(self, node: int) -> None:
        self.directory(node).mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.directory(node), self.user, self.user)

    def wait(self, *nodes: int) -> None:
        """Wait until nodes serve; an error if one has ended."""
        for node in nodes or self.nodes:
            until(functools.partial(self._serves_or_has_ended, node), f"{self.host(node)} to serve")
            if self._has_ended(node):
                output = (self.directory(node) / "output").read_text(errors="replace")
                raise RuntimeError(f"{self.host(node)} has ended:\n{output[-2000:]}")

    def _serves_or_has_ended(self, node: int) -> bool:
        return self._has_ended(node) or self.is_ready(node)

    def _has_ended(self, node: int) -> bool:
        return self._processes[node].poll() is not None

    def stop(self, *nodes: int) -> None:
        """End nodes in good order."""
        self._end(nodes, self.end_signal)

    def crash(self, *nodes: int) -> None:
        """Kill nodes, with all their processes."""
        self._end(nodes, signal.SIGKILL)

    def restart(self, *nodes: int) -> None:
        """`stop`, then `start`."""
        self.stop(*nodes)
        self.start(*nodes)

    def pause(self, *nodes: int) -> None:
        """SIGSTOP: the kernel still accepts connections, and nobody answers."""
        self.signal(signal.SIGSTOP, *nodes)

    def resume(self, *nodes: int) -> None:
        """End a `pause`."""
        self.signal(signal.SIGCONT, *nodes)

    def pids(self, node: int = 1) -> list[int]:
        """A node's processes, parents first."""
        return [*family(self._processes[node].pid)]

    def signal(self, number: int, *nodes: int) -> None:
        """Send a signal to all processes of nodes; parents first, so that no child is missed."""
        for node in nodes or self.running:
            for pid in self.pids(node):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _end(self, nodes: tuple[int, ...], number: int) -> None:
        for node in nodes or self.running:
            process = self._processes[node]
            with contextlib.ExitStack() as stack:
                for fd in filter(None, map(_pidfd, self.pids(node)[1:])):
                    stack.callback(os.close, fd)
                    stack.callback(_until_gone, fd)  # PostgreSQL does not start beside an old backend
                if number == signal.SIGKILL:
                    self.signal(number, node)
                else:
                    self.signal(signal.SIGCONT, node)
                    process.send_signal(number)
                process.wait(PATIENCE)

    def repair(self) -> None:
        """Let every node run and serve, after any fault of the server itself."""
        self.resume()
        missing = [node for node in self.nodes if node not in self.running]
        if missing:
            self.start(*missing, wait=False)
        self.wait()

    def memory(self, node: int = 1) -> float:
        """MiB of a node's processes; what they share is counted once (PSS)."""
        total = 0
        for pid in self.pids(node):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
                total += next(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
        return total / 1024

    def ask(self, text: str, node: int = 1) -> str:
        """Send a text to a node, from its own host; the answer until the node closes the connection."""
        with self.place.connect(self.host(node), self.port, origin=self.host(node)) as connection:
            connection.sendall(text.encode())
            data = bytearray()
            while part := connection.recv(65536):
                data += part
        return data.decode(errors="replace")


def family(pid: int) -> Iterator[int]:
    """A process and its descendants, parents first."""
    yield pid
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
            for child in children.split():
                yield from family(int(child))


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _until_gone(fd: int) -> None:
    if not select.select([fd], [], [], PATIENCE)[0]:
        raise TimeoutError(f"a process of a server has not ended in {PATIENCE} s")


class PostgreSQL(Server):
    """PostgreSQL 15: one node, or a primary (1) with a synchronous standby (2).

    The user ``postgres`` needs no password; every other user does.
    """

    scheme, user, port = "postgresql", "postgres", 5432
    end_signal = signal.SIGINT  # "fast" (pg_ctl(1)): does not wait for the clients

    programs = Path("/usr/lib/postgresql/15/bin")
    settings = """
listen_addresses = '*'
unix_socket_directories = ''
max_connections = 400
shared_buffers = 4MB
fsync = off
autovacuum = off
jit = off
wal_level = replica
max_wal_senders = 4
hot_standby = on
log_line_prefix = '%m [%p] '
"""
    access = """
host all postgres 0.0.0.0/0 trust
host all all 0.0.0.0/0 scram-sha-256
host replication postgres 0.0.0.0/0 trust
"""

    def __init__(self, place: Place, nodes: int = 1) -> None:
        super().__init__(place, nodes)
        self.primary = 1

    def prepare(self, node: int) -> None:
        """See `Server.prepare`; for node 1: the standby is a copy of the primary."""
        self._run(
            node,
            "initdb",
            "-D",
            ".",
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        )
        for name, text in (("pg_hba.conf", self.access), ("postgresql.conf", self.settings)):
            mode = "w" if name == "pg_hba.conf" else "a"
            with open(self.directory(node) / name, mode, encoding="utf-8") as file:
                file.write(text)

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        address = self.address(node)
        return [self.programs / "postgres", "-D", ".", "-h", address, "-p", str(self.port)]

    def start(self, *nodes: int, wait: bool = True) -> None:
        """See `Server.start`; the standby is made at the first start of all."""
        if nodes or self.directory(1).exists():
            super().start(*nodes, wait=wait)
            return
        super().start(1)
        if len(self.nodes) > 1:
            self.replicate()

    def replicate(self) -> None:
        """Make the node that is not the primary a synchronous standby of the primary, anew."""
        standby = next(node for node in self.nodes if node != self.primary)
        if standby in self.running:
            self.crash(standby)
        shutil.rmtree(self.directory(standby), ignore_errors=True)
        self._make_directory(standby)
        primary = f"host={self.address(self.primary)} user=postgres application_name=standby"
        self.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        self._run(
            standby,
            "pg_basebackup",
            "-d",
            primary,
            "-D",
            ".",
            "-X",
            "stream",
            "-c",
            "fast",
            "--no-sync",
            "-R",
        )
        self.start(standby)
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        until(
            lambda: self.sql("SELECT sync_state FROM pg_stat_replication") == [("sync",)], "the standby"
        )

    def promote(self) -> None:
        """Make the standby the primary, which waits for no standby then; the old one should be down."""
        standby = next(node for node in self.nodes if node != self.primary)
        self.sql("SELECT pg_promote()", node=standby)
        self.primary = standby

    def repair(self) -> None:
        """See `Server.repair`; a pair that has lost its primary gets a standby anew."""
        if len(self.nodes) == 1:
            super().repair()
            return
        self.resume()
        if self.primary not in self.running:
            self.start(self.primary)
        if len(self.running) < 2 or not self.sql("SELECT FROM pg_stat_replication"):
            self.replicate()

    def is_ready(self, node: int) -> bool:
        """See `Server.is_ready`."""
        try:
            self.sql("SELECT", node=node)
        except psycopg.OperationalError:
            return False
        return True

    def sql(self, *statements: str, node: int | None = None) -> list[tuple[Any, ...]]:
        """Execute statements on a node, the primary if none is named; the rows of the last one."""
        node = node or self.primary

        def execute() -> list[tuple[Any, ...]]:
            where = f"host={self.address(node)} port={self.port} user=postgres dbname=postgres"
            with psycopg.connect(where, autocommit=True, connect_timeout=5) as connection:
                for statement in statements[:-1]:
                    connection.execute(statement.encode())
                found = connection.execute(statements[-1].encode())
                return found.fetchall() if found.description is not None else []

        return self.place.inside(self.host(node), execute)

    def url(self, name: str = "health") -> str:
        """See `Server.url`."""
        wanted = "?target_session_attrs=read-write" if len(self.nodes) > 1 else ""
        return f"postgresql://postgres@{self.hosts()}/postgres{wanted}#{name}"

    def leader(self) -> int:
        """See `Server.leader`."""
        return self.primary

    def sessions(self) -> int:
        """See `Server.sessions`."""
        ((count,),) = self.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid()"
        )
        return int(count)

    def queries(self) -> int:
        """See `Server.queries`: the transactions. A backend reports at most once a second."""
        ((count,),) = self.sql(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'"
        )
        return int(count)

    def _run(self, node: int, program: str, *arguments: str) -> None:
        process = self.place.start(
            self.host(node),
            [self.programs / program, *arguments],
            user=self.user,
            cwd=self.directory(node),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output, _ = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise RuntimeError(f"{program}: {output}")


class ZooKeeper(Server):
    """ZooKeeper 3.8, of one or three nodes; a session lasts at least two ticks."""

    scheme, user, port = "zookeeper", "zookeeper", 2181

    tick = 0.5
    sync_limit = 10
    """Ticks after which a node that is parted from the others ends its service."""

    java = (
        *("java", "-Xmx64m", "-Xms16m", "-Xss256k", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
        *("-Xshare:auto", "-Dzookeeper.forceSync=no", "-Djava.net.preferIPv4Stack=true"),
        *("-Dzookeeper.admin.enableServer=false", "-Dzookeeper.4lw.commands.whitelist=*"),
        *("-cp", "/usr/share/java/zookeeper.jar"),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
    )

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        (self.directory(node) / "myid").write_text(str(node), encoding="ascii")
        lines = [
            f"tickTime={int(self.tick * 1000)}",
            "initLimit=20",
            f"syncLimit={self.sync_limit}",
            f"dataDir={self.directory(node)}",
            f"clientPortAddress={self.address(node)}",
            f"clientPort={self.port}",
            "maxClientCnxns=0",
        ]
        if len(self.nodes) > 1:
            lines += [f"server.{n}={self.address(n)}:2888:3888" for n in self.nodes]
        configuration = self.directory(node) / "zoo.cfg"
        configuration.write_text("\n".join(lines), encoding="ascii")
        return [*self.java, configuration]

    def is_ready(self, node: int) -> bool:
        """See `Server.is_ready`."""
        return "Mode: " in self._answer("srvr", node)

    def _answer(self, word: str, node: int) -> str:
        try:
            return self.ask(word, node)
        except OSError:  # not up yet
            return ""

    def url(self, name: str = "health") -> str:
        """See `Server.url`."""
        return f"zookeeper://{self.hosts()}/app/{name}"

    def leader(self) -> int:
        """See `Server.leader`."""
        if len(self.nodes) == 1:
            return 1
        return until(
            lambda: next((n for n in self.running if "Mode: leader" in self._answer("srvr", n)), 0),
            "a leader of the ensemble",
        )

    def sessions(self) -> int:
        """See `Server.sessions`."""
        return sum(self.ask("cons", node).count("sid=") for node in self.running)

    def queries(self) -> int:
        """See `Server.queries`: the packets, with those of the pings."""
        return sum(
            int(line.split("\t")[1])
            for node in self.running
            for line in self.ask("mntr", node).splitlines()
            if line.startswith("zk_packets_received")
        )


class Etcd(Server):
    """etcd 3.4, of one or three nodes; plain HTTP."""

    scheme, user, port = "etcd", "etcd", 2379

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        client, peer = f"http://{self.address(node)}:{self.port}", f"http://{self.address(node)}:2380"
        cluster = ",".join(f"{self.host(n)}=http://{self.address(n)}:2380" for n in self.nodes)
        return [
            *("etcd", "--name", self.host(node), "--data-dir", "data", "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", cluster, "--logger", "zap", "--log-level", "warn"),
        ]

    def get(self, path: str, node: int = 1) -> str:
        """GET from a node."""
        return self._request("GET", path, None, node)

    def post(self, path: str, body: dict[str, object], node: int = 1) -> dict[str, Any]:
        """POST to a node's JSON gateway, as ``/v3/kv/range``."""
        answer: dict[str, Any] = json.loads(self._request("POST", path, json.dumps(body), node))
        return answer

    def _request(self, method: str, path: str, body: str | None, node: int) -> str:
        connection = http.client.HTTPConnection(self.address(node), self.port, timeout=5)
        self.place.inside(self.host(node), connection.connect)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read().decode()

    def is_ready(self, node: int) -> bool:
        """See `Server.is_ready`."""
        try:
            return '"health":"true"' in self.get("/health", node)
        except (OSError, http.client.HTTPException):
            return False

    def url(self, name: str = "health") -> str:
        """See `Server.url`."""
        return f"etcd://{self.hosts()}/app/{name}"

    def leader(self) -> int:
        """See `Server.leader`."""
        return until(
            lambda: next((n for n in self.running if self._metric("etcd_server_is_leader", n)), 0),
            "a leader of the cluster",
        )

    def sessions(self) -> int:
        """See `Server.sessions`: the streams of watches."""
        return sum(map(self.watch_streams, self.running))

    def watch_streams(self, node: int) -> int:
        """The streams of watches of a node."""
        return self._metric("etcd_debugging_mvcc_watch_stream_total", node)

    def queries(self) -> int:
        """See `Server.queries`: the calls that have ended."""
        return sum(self._metric("grpc_server_handled_total", node) for node in self.running)

    def _metric(self, name: str, node: int) -> int:
        lines = self.get("/metrics", node).splitlines()
        found = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(int(float(line.rpartition(" ")[2])) for line in found)


class Redis(Server):
    """Redis 7, of one node, which keeps nothing on disk.

    Args:
        place: see `Server`.
        options: more arguments for the server.
    """

    scheme, user, port = "redis", "redis", 6379

    def __init__(self, place: Place, options: Sequence[str] = ()) -> None:
        super().__init__(place)
        self.options = options

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        return [
            *("redis-server", "--bind", self.address(node), "--port", str(self.port)),
            *("--protected-mode", "no", "--save", "", "--appendonly", "no", *self.options),
        ]

    def call(self, *words: str) -> Any:
        """Send one command; its answer."""

        def execute() -> Any:
            client = redis.Redis(
                self.address(),
                self.port,
                socket_timeout=5,
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),
            )
            with contextlib.closing(client):
                send: Callable[..., Any] = client.execute_command
                return send(*words)

        return self.place.inside(self.host(), execute)

    def is_ready(self, node: int) -> bool:
        """See `Server.is_ready`."""
        try:
            return bool(self.call("PING"))
        except (TimeoutError, redis.ConnectionError, redis.TimeoutError):
            return False

    def url(self, name: str = "health") -> str:
        """See `Server.url`."""
        return f"redis://{self.hosts()}/0#{name}"

    def sessions(self) -> int:
        """See `Server.sessions`."""
        return int(self.call("INFO", "clients")["connected_clients"]) - 1

    def queries(self) -> int:
        """See `Server.queries`: the commands."""
        return int(self.call("INFO", "stats")["total_commands_processed"])
