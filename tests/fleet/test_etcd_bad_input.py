"""etcd that refuses, is away or is something else, and URLs that are wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leaderlock import Election, EngineUnreachable, EngineUnusable, Leadership
from leaderlock.engines import CalledOff, engine_of
from leaderlock.engines.etcd.record import to_base64
from tests.fleet.network import Loopback
from tests.fleet.servers import Etcd
from tests.fleet.sessions import Sessions

pytestmark = pytest.mark.slow

LEASE = 60.0
"""Seconds; so that the slowest machine answers within a third of it."""


def sessions_of(url: str, lease: float = LEASE) -> Sessions:
    return Sessions(url, lease, lambda: 0)


def refusal_of(url: str) -> str:
    """The message with which an election is refused."""
    with contextlib.closing(sessions_of(url)) as sessions:
        with pytest.raises(EngineUnusable) as raised:
            sessions.lead()
        assert not isinstance(raised.value, EngineUnreachable), raised.value
        return str(raised.value)


def failure_of(url: str, lease: float = LEASE) -> str:
    """The message of a candidate that cannot reach a member."""
    with (
        contextlib.closing(sessions_of(url, lease)) as sessions,
        pytest.raises(EngineUnreachable) as raised,
    ):
        sessions.lead()
    return str(raised.value)


# Credentials and rights.


@pytest.fixture(scope="module")
def guarded_server(loopback: Loopback) -> Iterator[Etcd]:
    """An etcd that asks for a password."""
    server = Guarded(loopback)
    server.start()
    for name in ("root", "health", "key", "nobody"):
        server.post("/v3/auth/user/add", {"name": name, "password": f"of-{name}"})
    steps: list[tuple[str, dict[str, object]]] = [
        ("role/add", {"name": "health"}),
        ("role/grant", {"name": "health", "perm": permission("/app/health", "/app/healti")}),
        ("role/add", {"name": "key"}),
        ("role/grant", {"name": "key", "perm": permission("/app/health")}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("user/grant", {"user": "health", "role": "health"}),
        ("user/grant", {"user": "key", "role": "key"}),
        ("enable", {}),
    ]
    for path, body in steps:
        answer = server.post(f"/v3/auth/{path}", body)
        assert "error" not in answer, answer
    yield server
    server.stop()


@pytest.fixture
def guarded(guarded_server: Etcd) -> str:
    """The host and port of an etcd that asks for a password."""
    return f"{guarded_server.address()}:{guarded_server.port}"


class Guarded(Etcd):
    """With hosts of its own."""

    def host(self, node: int = 1) -> str:
        return f"guarded-{node}"


def permission(first: str, end: str = "") -> dict[str, str]:
    return {"permType": "READWRITE", "key": to_base64(first), "range_end": to_base64(end)}


def test_a_user_with_the_rights_leads(guarded: str) -> None:
    with contextlib.closing(sessions_of(f"etcd://health:of-health@{guarded}/app/health")) as sessions:
        leader, claim = sessions.lead()
        leader.renew()
        leader.write("history", b"[]")
        assert sessions.look().term == claim.term
        leader.resign()


def test_a_token_that_etcd_has_forgotten_is_renewed(guarded_server: Etcd, guarded: str) -> None:
    with contextlib.closing(sessions_of(f"etcd://health:of-health@{guarded}/app/health")) as sessions:
        leader, _ = sessions.lead()
        guarded_server.restart()
        leader.renew()
        leader.resign()


@pytest.mark.parametrize(
    ("credentials", "message"),
    [
        ("health:hunter2@", "check the user and the password"),
        ("nosuchuser:hunter2@", "check the user and the password"),
        ("", "name a user and its password in the URL"),
        ("nobody:of-nobody@", "grant the user's role the right"),
        ("key:of-key@", "all keys that begin with /app/health"),
    ],
)
def test_wrong_credentials_and_missing_rights_are_refused(
    guarded: str, credentials: str, message: str
) -> None:
    refusal = refusal_of(f"etcd://{credentials}{guarded}/app/health")
    assert message in refusal
    assert guarded in refusal
    assert "hunter2" not in refusal
    assert "of-" not in refusal


def test_credentials_do_no_harm_where_none_are_needed(local_etcd: Etcd) -> None:
    url = f"etcd://me:hunter2@{local_etcd.address()}:{local_etcd.port}/app/open"
    with contextlib.closing(sessions_of(url)) as sessions:
        leader, _ = sessions.lead()
        leader.resign()


# Servers that are away, silent, slow, or something else.


@contextlib.contextmanager
def answering(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """The host and port of a server that answers each connection in pieces, and closes it."""
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
                    for piece in pieces:
                        connection.sendall(piece)
                        over.wait(pause)
                    if not pieces:
                        over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def head(status: str, kind: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


PAGE = b"<html><body>Welcome to nginx!</body></html>"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (head("200 OK", "text/html", len(PAGE)) + PAGE, "Welcome to nginx!"),
        (head("404 Not Found", "text/plain", 9) + b"Not Found", "etcd 3.4 or newer"),
        (head("403 Forbidden", "text/html", len(PAGE)) + PAGE, "status 403"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", "etcds"),
        (head("200 OK", "application/json", 15) + b'{"hello": true}', "this is not etcd"),
        (head("404 Not Found", "application/json", 14) + b'{"detail": 17}', "this is not etcd"),
    ],
)
def test_something_that_is_not_etcd_is_refused(answer: bytes, message: str) -> None:
    with answering(answer) as place:
        refusal = refusal_of(f"etcd://me:hunter2@{place}/app/health")
    assert message in refusal
    assert "hunter2" not in refusal


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01 not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        head("200 OK", "application/json", 99) + b'{"header": {',
        head("200 OK", "application/json", 12) + b'{"header": {',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        head("502 Bad Gateway", "text/html", len(PAGE)) + PAGE,
    ],
)
def test_half_an_answer_is_none(answer: bytes) -> None:
    with answering(answer) as place:
        assert "no member of etcd answers" in failure_of(f"etcd://{place}/x")


@pytest.mark.parametrize("pieces", [(), (b"H",) * 1000], ids=["silent", "slow"])
def test_a_server_that_never_answers_is_given_a_third_of_the_lease(pieces: Sequence[bytes]) -> None:
    with answering(*pieces, pause=0.05) as place:
        lease = 3.0
        before = time.monotonic()
        assert "no answer in time" in failure_of(f"etcd://{place},{place}/x", lease)
        assert lease / 3 <= time.monotonic() - before < 2 * lease


def test_a_request_that_waits_for_an_answer_is_called_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = "etcd://{}:{}/x".format(*listener.getsockname())
        with contextlib.closing(sessions_of(url, 3000)) as sessions:
            standby = sessions.start_standby()
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1)
                assert isinstance(standby.cancel(), CalledOff)


def test_a_server_that_is_away_is_named_with_its_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert f"127.0.0.1:{port}: [Errno 111] Connection refused" in failure_of(
        f"etcd://127.0.0.1:{port}/x"
    )


def test_a_name_without_an_address_is_named() -> None:
    assert "no-such-host.invalid:2379: " in failure_of("etcd://no-such-host.invalid/x")


def test_a_candidate_waits_for_a_server_that_comes_later(loopback: Loopback) -> None:
    alone = OneOfTwo(loopback, 2)
    led = threading.Event()

    def task(leadership: Leadership) -> None:
        led.set()
        leadership.stopping.wait()

    candidate = Election(alone.url("later")).start(task)
    try:
        alone.start(2)
        assert led.wait(60)
    finally:
        candidate.stop()
        alone.stop()


class OneOfTwo(Etcd):
    """A node that stands alone, beside an address at which nobody listens."""

    def command(self, node: int) -> Sequence[str | Path]:
        words = list(super().command(node))
        words[words.index("--initial-cluster") + 1] = (
            f"{self.host(node)}=http://{self.address(node)}:2380"
        )
        return words


# URLs.


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("etcd://h:2379", "the path is the election's key"),
        ("etcd://h:2379/", "the path is the election's key"),
        ("etcd://h/app/", "the path is the election's key"),
        ("etcd://h/app/.leaderlock/history", "hold the notes"),
        ("etcd://h/app/.leaderlock", "hold the notes"),
        ("etcd://h/app#health", "no #health"),
        ("etcd://h/app?ca=/x", "etcds://"),
        ("etcds://h/app?crt=/x", "did you mean cert"),
        ("etcds://h/app?ca=/no/such/file", "No such file"),
        ("etcds://h/app?cert=/no/such/file", "No such file"),
        ("etcds://h/app?key=/no/such/file", "cert"),
        ("etcd://h/app?timeout=3", "no parameter 'timeout'"),
        ("etcd:///app", "names no host"),
        ("etcd://" + 70 * "ü" + "/app", "cannot be the name of a host"),
    ],
)
def test_a_wrong_url_is_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        engine_of(url)


@pytest.mark.parametrize("lease", [0.0, -1.0, 0.9, float("inf"), float("nan")])
def test_a_lease_that_cannot_be_kept_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease"):
        engine_of("etcd://h/app", lease)


def test_a_key_may_have_any_characters(local_etcd: Etcd) -> None:
    url = f"etcd://{local_etcd.address()}/a%20b/%C3%BC%22"
    with contextlib.closing(sessions_of(url)) as sessions:
        assert sessions.engine.name == '/a b/ü"'
        leader, _ = sessions.lead()
        assert sessions.look().leader
        leader.resign()
