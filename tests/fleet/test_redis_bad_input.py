"""A Redis server that refuses, is away, is no Redis or belongs to others: clear errors, no password."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from leaderlock.engines.address import Address
from leaderlock.engines.leased.waiting import CalledOff
from leaderlock.engines.redis import engine
from leaderlock.engines.redis.link import RIGHTS
from leaderlock.engines.redis.session import RedisSession
from leaderlock.errors import EngineUnreachable, EngineUnusable
from tests.fleet.certificates import certificate
from tests.fleet.network import Loopback, Network, Place
from tests.fleet.servers import Redis
from tests.fleet.test_redis import LEASE, candidate_of, elect, session_of, term_of, waiters_of
from tests.processes import PATIENCE, until

pytestmark = pytest.mark.slow

SECRET = "hunter-two"


@pytest.fixture
def url(local_redis: Redis) -> Iterator[str]:
    """The URL of an election; the users of a test are removed."""
    local_redis.call("FLUSHALL")
    yield local_redis.url()
    for user in local_redis.call("ACL", "USERS"):
        if user != "default":
            local_redis.call("ACL", "DELUSER", user)


@contextlib.contextmanager
def closing(session: RedisSession) -> Iterator[RedisSession]:
    try:
        yield session
    finally:
        session.close()


def refusal(url: str, kind: type[EngineUnusable] = EngineUnusable, lease: float = LEASE) -> str:
    """The text of the error that a candidate gets at once."""
    with closing(session_of(url, lease)) as session, pytest.raises(EngineUnusable) as raised:
        elect(session, limit=0)
    assert type(raised.value) is kind, raised.value
    text = str(raised.value)
    assert SECRET not in text
    assert Address(url).shown in text
    return text


def as_user(url: str, user: str, password: str = SECRET) -> str:
    return url.replace("redis://", f"redis://{user}:{password}@")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("redis://h/0", "must end in the election's name"),
        ("redis://h/0#", "must end in the election's name"),
        ("redis://h/0#a{b}", "without braces"),
        ("redis://h1,h2:6380/0#x", "name one server"),
        ("redis://h/app#x", "no number of a database"),
        ("redis://h/-1#x", "no number of a database"),
        ("redis://h/0?timeout=3#x", "unknown parameter 'timeout'"),
        ("redis://h/0?ssl_ca_certs=/x#x", "unknown parameter"),
        (f"rediss://u:{SECRET}@h/0?ssl_ca=/x#x", "unknown parameter 'ssl_ca'"),
    ],
)
def test_a_wrong_url_is_refused_with_its_remedy(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as raised:
        engine(Address(url), None)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("lease", [0.5, 0.0, -1.0, float("nan"), float("inf")])
def test_a_lease_that_is_too_short_or_endless_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease must be"):
        engine(Address("redis://h/0#x"), lease)


def test_a_wrong_password_is_refused_and_not_shown(url: str, local_redis: Redis) -> None:
    local_redis.call("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all")
    assert "does not accept the user and the password" in refusal(as_user(url, "app"))
    assert "does not accept the user and the password" in refusal(as_user(url, "nobody"))


def test_a_missing_password_is_named(url: str, local_redis: Redis) -> None:
    admin = redis.Redis(local_redis.address(), local_redis.port, single_connection_client=True)
    with contextlib.closing(admin):
        admin.acl_setuser("default", enabled=False)
        try:
            assert "does not accept the user and the password" in refusal(url)
        finally:
            admin.acl_setuser("default", enabled=True)


@pytest.mark.parametrize("missing", ["+eval", "+info", "+hset", "+subscribe", "+publish", "&", "~"])
def test_a_missing_right_is_named_with_all_that_are_needed(
    url: str, local_redis: Redis, missing: str
) -> None:
    rights = ["~leaderlock:*", "&leaderlock:*", "&__keyspace@*__:leaderlock:*", *RIGHTS.split()]
    kept = [right for right in rights if not right.startswith(missing) or right == "+pubsub|numsub"]
    local_redis.call("ACL", "SETUSER", "app", "reset", "on", f">{SECRET}", *kept)
    with closing(session_of(url)) as leader:
        if missing in {"+subscribe", "&"}:  # a right that only a waiting candidate needs
            elect(leader)
        elif missing == "+publish":  # one that only a candidate needs which is elected
            elect(leader)
            leader.resign()
        text = refusal(as_user(url, "app"))
    assert "lacks a right" in text
    assert RIGHTS in text


def test_the_named_rights_suffice_for_everything(url: str, local_redis: Redis) -> None:
    with closing(session_of(url)) as other:
        elect(other)
        local_redis.call("ACL", "SETUSER", "app", "reset", "on", f">{SECRET}")
        limited = as_user(url, "app")
        rights = refusal_without_rights(limited)
        local_redis.call("ACL", "SETUSER", "app", *rights)
        with closing(session_of(limited)) as session:
            with pytest.raises(CalledOff):
                elect(session, limit=0.2)
            other.resign()
            elect(session)
            session.renew()
            session.write("history", b"[]")
            assert session.read("history") == b"[]"
            assert session.look().waiting == 0
            session.resign()


def refusal_without_rights(url: str) -> list[str]:
    """The rights that the message asks for, as words of ACL SETUSER."""
    _, _, rights = refusal(url).partition("ACL SETUSER app ")
    return rights.split()


@pytest.mark.parametrize(
    ("command", "question"),
    [
        ("SET leaderlock:{health} mine", "GET leaderlock:{health}"),
        ("RPUSH leaderlock:{health} mine", "LRANGE leaderlock:{health} 0 -1"),
        ("HSET leaderlock:{health} colour red", "HGETALL leaderlock:{health}"),
        ("SET leaderlock:{health}:alarm mine", "GET leaderlock:{health}:alarm"),
        ("HSET leaderlock:{health}:alarm colour red", "HGETALL leaderlock:{health}:alarm"),
    ],
)
def test_a_key_of_another_program_is_left_alone(
    url: str, local_redis: Redis, command: str, question: str
) -> None:
    local_redis.call(*command.split())
    before = local_redis.call(*question.split())
    assert "another program owns a key" in refusal(url)
    assert local_redis.call(*question.split()) == before
    assert local_redis.call("PTTL", command.split()[1]) == -1


def test_a_note_of_another_type_is_an_error(url: str, local_redis: Redis) -> None:
    local_redis.call("RPUSH", "leaderlock:{health}:history", "mine")
    with (
        closing(session_of(url)) as session,
        pytest.raises(EngineUnusable, match="another program owns a key"),
    ):
        session.read("history")


def test_the_classes_of_events_that_are_set_are_kept(url: str, local_redis: Redis) -> None:
    local_redis.call("CONFIG", "SET", "notify-keyspace-events", "g$")
    with closing(session_of(url)) as session:
        elect(session)
    found = local_redis.call("CONFIG", "GET", "notify-keyspace-events")
    assert set(found["notify-keyspace-events"]) == set("g$Kxe")


def test_a_server_whose_memory_is_used_up_still_elects(url: str, local_redis: Redis) -> None:
    local_redis.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(redis.ResponseError, match=r"maxmemory"):
            local_redis.call("SET", "x", "y")
        with closing(session_of(url)) as session:
            elect(session)
            session.renew()
            session.resign()
    finally:
        local_redis.call("CONFIG", "SET", "maxmemory", "0")


def test_a_replica_is_not_asked_to_elect_until_it_is_the_primary(
    url: str, loopback: Loopback, local_redis: Redis
) -> None:
    local_redis.call("REPLICAOF", local_redis.address(), "1")  # nobody is there
    try:
        assert "the server is a replica" in refusal(url, EngineUnreachable)
        with candidate_of(url) as child:
            assert child.is_silent(1.0)
            local_redis.call("REPLICAOF", "NO", "ONE")
            term_of(child)
    finally:
        local_redis.call("REPLICAOF", "NO", "ONE")


# Servers of their own.


class OwnRedis(Redis):
    """A server with options and a name of its own, ready as soon as it accepts connections."""

    def __init__(self, place: Place, name: str, *options: str) -> None:
        self.scheme = name
        super().__init__(place, options)

    def is_ready(self, node: int) -> bool:
        try:
            self.place.connect(self.host(), self.port, origin=self.host()).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def own(place: Place, name: str, *options: str) -> Iterator[OwnRedis]:
    """Run a server with options, under a name."""
    server = OwnRedis(place, name, *options)
    server.start()
    try:
        yield server
    finally:
        server.crash()
        shutil.rmtree(server.directory())


def test_a_server_that_loads_its_data_is_tried_again(loopback: Loopback) -> None:
    with own(loopback, "loads") as server:
        server.call("EVAL", "for i = 1, 6000 do redis.call('SET', i, '') end", "0")
        server.call("SAVE")
        server.crash()
        server.options = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
        server.start()
        assert "refuses at the moment" in refusal(server.url(), EngineUnreachable)
        with candidate_of(server.url()) as child:
            term_of(child)


def test_a_node_of_a_cluster_is_refused(loopback: Loopback) -> None:
    with own(loopback, "cluster", "--cluster-enabled", "yes") as server:
        assert "part of a cluster" in refusal(server.url())


def test_a_server_in_protected_mode_is_refused(network: Network) -> None:
    with own(network, "closed", "--protected-mode", "yes") as server:
        assert "protected mode" in network.inside("client", lambda: refusal(server.url()))


def test_a_server_without_resp3_is_refused(loopback: Loopback) -> None:
    with own(loopback, "old", "--rename-command", "HELLO", "") as server:
        assert "Redis 6 or newer" in refusal(server.url())


def test_a_server_without_config_elects(loopback: Loopback) -> None:
    with own(loopback, "hosted", "--rename-command", "CONFIG", "") as server:
        url = server.url()
        with candidate_of(url) as leader:
            term, _ = term_of(leader)
            with candidate_of(url) as second:
                until(lambda: waiters_of(url) == 1, "the second one to wait")
                leader.kill()
                assert term_of(second)[0] > term


def test_tls_asks_for_a_trusted_certificate(loopback: Loopback) -> None:
    files = loopback.directory / "certificates"
    files.mkdir(exist_ok=True)
    address = loopback.add("tls1-1")
    (good, key), (other, _) = (certificate(files, name, address) for name in ("good", "other"))
    key.chmod(0o644)  # the server runs as another user
    options = [
        *("--tls-port", "6380", "--tls-auth-clients", "no", "--tls-ca-cert-file", str(good)),
        *("--tls-cert-file", str(good), "--tls-key-file", str(key)),
    ]
    with own(loopback, "tls", *options):
        url = f"rediss://{address}:6380/0?ssl_ca_certs={{}}#health"
        assert "certificate is not trusted" in refusal(url.format(other))
        with candidate_of(url.format(good)) as leader:
            term, _ = term_of(leader)
            with candidate_of(url.format(good)) as second:
                until(lambda: waiters_of(url.format(good)) == 1, "the second one to wait")
                leader.kill()
                assert term_of(second)[0] > term
        assert "a file that the URL names" in refusal(url.format(files / "missing.crt"))
        assert "no TLS connection" in refusal(url.format(key))


# Servers that are away, or are none.


def test_a_server_that_is_away_is_tried_again_until_it_comes(loopback: Loopback) -> None:
    with own(loopback, "late") as server:
        url = server.url()
        server.crash()
        assert "the server does not answer" in refusal(url, EngineUnreachable)
        with candidate_of(url) as child:
            assert child.is_silent(1.0)
            server.start()
            term_of(child)


def test_a_host_without_an_address_is_tried_again() -> None:
    assert "the server does not answer" in refusal(
        "redis://no.such.host.invalid/0#x", EngineUnreachable
    )


@contextlib.contextmanager
def answering(*parts: bytes) -> Iterator[str]:
    """The URL of a program that sends these parts to each client, and nothing more."""
    clients: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                client.sendall(b"".join(parts))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"redis://app:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/0#health"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            for client in clients:
                client.close()


@pytest.mark.parametrize("answer", [b"", b"%7\r\n$6\r\nser"])
def test_a_server_that_never_answers_or_by_half_is_given_up_in_time(answer: bytes) -> None:
    with answering(answer) as url:
        began = time.monotonic()
        assert "the server does not answer" in refusal(url, EngineUnreachable)
        assert time.monotonic() - began < LEASE


def test_a_server_of_another_kind_is_refused() -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "no Redis server" in refusal(url)


def test_a_paused_server_does_not_hold_a_leaders_renewal(local_redis: Redis, url: str) -> None:
    with closing(session_of(url)) as session:
        elect(session)
        local_redis.pause()
        try:
            began = time.monotonic()
            with pytest.raises(EngineUnreachable):
                session.renew()
            with pytest.raises(EngineUnreachable):
                session.renew()  # over a new connection, which the kernel accepts
            assert time.monotonic() - began < LEASE
        finally:
            local_redis.resume()
        session.renew()


def test_a_forked_child_cannot_use_its_parents_connection(url: str) -> None:
    with closing(session_of(url)) as session:
        elect(session)
        reader, writer = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                session.renew()
            except EngineUnusable as error:
                os.write(writer, str(error).encode())
            finally:
                session.close()
                os._exit(0)
        os.close(writer)
        with open(reader, encoding="utf-8") as told:
            text = told.read()
        os.waitpid(pid, 0)
        assert f"process {os.getpid()} made this connection" in text
        session.renew()  # the child has not closed it
