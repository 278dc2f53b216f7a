"""ZooKeeper that refuses, is away or is something else, nodes of other programs, and wrong URLs."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from kazoo.security import CREATOR_ALL_ACL, READ_ACL_UNSAFE

from leaderlock import Election, EngineUnreachable, EngineUnusable, Leadership
from leaderlock.engines import CalledOff, engine_of
from tests.fleet.network import Loopback
from tests.fleet.servers import ZooKeeper
from tests.fleet.sessions import Sessions
from tests.fleet.zookeeper_client import other_client

pytestmark = pytest.mark.slow

LEASE = 3.0

_names = itertools.count()


def sessions_of(url: str, lease: float = LEASE) -> Sessions:
    return Sessions(url, lease, lambda: 0)


def refusal_of(url: str, lease: float = LEASE) -> str:
    """The message with which an election is refused."""
    with contextlib.closing(sessions_of(url, lease)) as sessions:
        with pytest.raises(EngineUnusable) as raised:
            sessions.lead()
        assert not isinstance(raised.value, EngineUnreachable), raised.value
        return str(raised.value)


def failure_of(url: str) -> str:
    """The message of a candidate that cannot reach a server."""
    with contextlib.closing(sessions_of(url)) as sessions, pytest.raises(EngineUnreachable) as raised:
        sessions.lead()
    return str(raised.value)


@pytest.fixture
def url(local_zookeeper: ZooKeeper) -> str:
    """An election of its own, below a node that anybody may use."""
    with other_client(local_zookeeper) as client:
        client.ensure_path("/app")
    return local_zookeeper.url(f"bad{next(_names)}")


def path_of(url: str) -> str:
    return "/app/" + url.rpartition("/")[2]


def with_user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}@")


# Credentials and rights.


def test_the_nodes_of_a_user_are_for_that_user_alone(local_zookeeper: ZooKeeper, url: str) -> None:
    with contextlib.closing(sessions_of(with_user(url, "me:right"))) as sessions:
        leader, claim = sessions.lead()
        leader.renew()
        leader.write("history", b"[]")
        assert sessions.look().term == claim.term
        for wrong in (url, with_user(url, "me:hunter2"), with_user(url, "you:hunter2")):
            refusal = refusal_of(wrong)
            assert "NoAuthError" in refusal
            assert "needs all rights" in refusal
            assert "hunter2" not in refusal
        leader.resign()


def test_a_user_without_the_right_to_create_the_path_is_refused(
    local_zookeeper: ZooKeeper, url: str
) -> None:
    parent = path_of(url)
    with other_client(local_zookeeper) as client:
        client.create(parent, acl=READ_ACL_UNSAFE)
    assert "the right to create" in refusal_of(f"{url}/health")


def test_an_administrator_may_make_the_node_for_a_user(local_zookeeper: ZooKeeper, url: str) -> None:
    with other_client(local_zookeeper, auth_data=[("digest", "me:right")]) as client:
        client.create(path_of(url), acl=CREATOR_ALL_ACL)
    with contextlib.closing(sessions_of(with_user(url, "me:right"))) as sessions:
        leader, _ = sessions.lead()
        leader.resign()


@pytest.fixture(scope="module")
def strict(loopback: Loopback) -> Iterator[Strict]:
    """A server with the usual tick, which takes no passwords."""
    server = Strict(loopback)
    server.start()
    yield server
    server.stop()


class Strict(ZooKeeper):
    """With hosts of its own."""

    tick = 2.0

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        program, *rest = super().command(node)
        return [program, "-Dzookeeper.DigestAuthenticationProvider.enabled=false", *rest]

    def host(self, node: int = 1) -> str:
        return f"strict-{node}"


def test_a_server_that_takes_no_passwords_is_named(strict: Strict) -> None:
    refusal = refusal_of(with_user(strict.url(), "me:hunter2"))
    assert "refuses the credentials of the user 'me'" in refusal
    assert "hunter2" not in refusal


# Leases.


def test_a_lease_longer_than_the_longest_session_is_refused(url: str) -> None:
    refusal = refusal_of(url, lease=15.0)
    assert "the servers' longest session is 10 s (maxSessionTimeout" in refusal
    assert "a lease of at most 7.5 s" in refusal
    with contextlib.closing(sessions_of(url, 7.5)) as sessions:
        leader, _ = sessions.lead()
        leader.resign()


def test_a_lease_shorter_than_the_shortest_session_is_refused(strict: Strict) -> None:
    refusal = refusal_of(strict.url(), lease=1.5)
    assert "the servers' shortest session is 4 s" in refusal
    assert "a lease of at least 1.6 s" in refusal
    assert "tickTime" in refusal
    with contextlib.closing(sessions_of(strict.url(), 1.6)) as sessions:
        leader, _ = sessions.lead()
        leader.renew()
        leader.resign()


@pytest.mark.parametrize("lease", [0.0, -1.0, 0.9, float("inf"), float("nan")])
def test_a_lease_that_no_server_can_keep_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease"):
        engine_of("zookeeper://h/app", lease)


# Nodes of other programs.


def test_a_node_with_the_data_of_another_program_is_refused(
    local_zookeeper: ZooKeeper, url: str
) -> None:
    with other_client(local_zookeeper) as client:
        client.create(path_of(url), b"broker.id=7", makepath=True)
    refusal = refusal_of(url)
    assert "another program uses the node" in refusal
    assert "broker.id=7" in refusal


def test_a_node_with_the_children_of_another_program_is_refused(
    local_zookeeper: ZooKeeper, url: str
) -> None:
    with other_client(local_zookeeper) as client:
        client.create(f"{path_of(url)}/9f__lock__0000000001", makepath=True)
    assert "it has the child '9f__lock__0000000001'" in refusal_of(url)


def test_an_ephemeral_node_of_another_program_is_refused(local_zookeeper: ZooKeeper, url: str) -> None:
    with other_client(local_zookeeper) as client:
        client.create(path_of(url), ephemeral=True)
        assert "it is an ephemeral node" in refusal_of(url)
        assert "can have no children" in refusal_of(f"{url}/health")


def test_an_empty_node_is_taken(local_zookeeper: ZooKeeper, url: str) -> None:
    with other_client(local_zookeeper) as client:
        client.ensure_path(path_of(url))
    with contextlib.closing(sessions_of(url)) as sessions:
        assert sessions.look().term == 0
        leader, claim = sessions.lead()
        assert sessions.look().term == claim.term
        leader.resign()


def test_a_first_candidate_of_another_program_is_no_leader(
    local_zookeeper: ZooKeeper, url: str
) -> None:
    with other_client(local_zookeeper) as client:
        client.create(f"{path_of(url)}/candidate-0000000000", b"\xff[", makepath=True)
    with contextlib.closing(sessions_of(url)) as sessions:
        assert sessions.look().leader is None


# Servers that are away, silent, or something else.


@contextlib.contextmanager
def answering(answer: bytes | None, asked: threading.Event | None = None) -> Iterator[str]:
    """The host and port of a server that answers each connection and closes it; None: never.

    Args:
        answer: the whole answer.
        asked: set once a client has sent a request.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    if asked is not None:
                        asked.set()
                    if answer is None:
                        over.wait()
                    else:
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>",
        b"\x00\x00\x00\x25\x00\x00",
        b"\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_something_that_is_not_zookeeper_is_named(answer: bytes) -> None:
    with answering(answer) as place:
        failure = failure_of(f"zookeeper://me:hunter2@{place}/app")
    assert place in failure
    assert "it is no ZooKeeper" in failure
    assert "hunter2" not in failure


def test_a_server_that_never_answers_is_given_half_the_lease() -> None:
    with answering(None) as place:
        before = time.monotonic()
        assert "does not answer" in failure_of(f"zookeeper://{place},{place}/x")
        assert LEASE / 2 <= time.monotonic() - before < LEASE + 2  # a busy machine


def test_a_wait_for_an_answer_is_called_off() -> None:
    asked = threading.Event()
    with (
        answering(None, asked) as place,
        contextlib.closing(sessions_of(f"zookeeper://{place}/x", 3000)) as sessions,
    ):
        standby = sessions.start_standby()
        assert asked.wait(60)
        assert isinstance(standby.cancel(), CalledOff)


def test_a_server_that_is_away_is_named_with_its_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    failure = failure_of(f"zookeeper://127.0.0.1:{port}/x")
    assert f"127.0.0.1:{port}: [Errno 111] Connection refused" in failure


def test_a_name_without_an_address_is_named() -> None:
    assert "no server was found under the names" in failure_of("zookeeper://no-such-host.invalid/x")


def test_a_candidate_waits_for_a_server_that_comes_later(loopback: Loopback) -> None:
    server = Late(loopback)
    led = threading.Event()

    def task(leadership: Leadership) -> None:
        led.set()
        leadership.stopping.wait()

    candidate = Election(server.url("later"), lease=LEASE).start(task)
    try:
        server.start()
        assert led.wait(60)
    finally:
        candidate.stop()
        server.stop()


class Late(ZooKeeper):
    """With hosts of its own."""

    def host(self, node: int = 1) -> str:
        return f"late-{node}"


# URLs, and processes.


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("zookeeper://h:2181", "the URL needs a path"),
        ("zookeeper://h:2181/", "the URL needs a path"),
        ("zookeeper://h/app//health", "no empty part"),
        ("zookeeper://h/app/../health", "no empty part"),
        ("zookeeper://h/app/%00", "no empty part"),
        ("zookeeper://h/zookeeper/health", "for itself"),
        ("zookeeper://h/app#health", "has no meaning"),
        ("zookeeper://h/app?timeout=3", "has no parameter 'timeout'"),
        ("zookeeper://me@h/app", "a user and a password"),
        ("zookeeper://:hunter2@h/app", "a user and a password"),
        ("zookeeper:///app", "names no host"),
    ],
)
def test_a_wrong_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        engine_of(url)
    assert "hunter2" not in str(raised.value)


PATCHED = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("library", PATCHED)
def test_green_threads_are_refused_in_one_line(library: str) -> None:
    program = f"""
import warnings; warnings.simplefilter("ignore")
{PATCHED[library]}
from leaderlock import Unsupported
from leaderlock.engines import engine_of
try:
    engine_of("zookeeper://h/app")
except Unsupported as error:
    print(error)
"""
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    (line,) = output.splitlines()
    assert "leaderlock run --lock URL" in line
