"""Elections in PostgreSQL that cannot be held: each error says what happened, and shows no password."""

from __future__ import annotations

import functools
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from leaderlock.engines import LeasedEngine, Waiting, engine_of
from leaderlock.engines.postgresql import connecting
from leaderlock.errors import EngineUnreachable, EngineUnusable
from tests.fleet.servers import PostgreSQL
from tests.fleet.sessions import Sessions, Standby, acquire
from tests.processes import until

pytestmark = pytest.mark.slow

LEASE = 3.0
SECRET = "hunter2"

_names = itertools.count()


def refusal(url: str, lease: float = LEASE) -> EngineUnusable:
    """The error of a candidate without patience."""
    engine = engine_of(url, lease)
    assert isinstance(engine, LeasedEngine)
    session = engine.connect()
    try:
        with pytest.raises(EngineUnusable) as caught:
            acquire(session, Waiting(None, 0))
    finally:
        session.close()
    assert SECRET not in str(caught.value)
    assert engine.address in str(caught.value)
    return caught.value


def url_of(server: PostgreSQL, user: str = f"postgres:{SECRET}", rest: str = "postgres") -> str:
    return f"postgresql://{user}@{server.address()}:{server.port}/{rest}#refused{next(_names)}"


@pytest.fixture
def role(local_postgresql: PostgreSQL) -> Iterator[str]:
    """A user with a password and no further right."""
    local_postgresql.sql(f"CREATE ROLE app LOGIN PASSWORD '{SECRET}'")
    yield f"app:{SECRET}"
    local_postgresql.sql("DROP OWNED BY app", "DROP ROLE app")


@contextmanager
def listener(answer: bytes | None) -> Iterator[int]:
    """A port where something listens that answers so, or never accepts."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # shut down
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer or b"")

        thread = threading.Thread(target=serve)
        if answer is not None:
            thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        if answer is not None:
            thread.join()


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql://h/db", "name the election behind #"),
        ("postgresql://h/db#", "name the election behind #"),
        ("postgresql://u:hunter2@h/db?nonsense=1#x", "nonsense"),
        ("postgresql://u:%zzhunter2@h/db#x", "libpq does not accept"),
        ("postgresql:///db#x", "names no host"),
        ("postgresql://h1,h2/db?port=1,2,3#x", "3 ports for 2 hosts"),
        ("postgresql://h..\u00fc/db#x", "name is not valid"),
    ],
)
def test_a_url_without_an_election_is_refused(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        engine_of(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("lease", [0.5, 0.0, -1.0, float("nan"), float("inf")])
def test_a_lease_that_cannot_be_kept_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease must be"):
        engine_of("postgresql://h/db#x", lease)


@pytest.mark.parametrize("user", [f"app:{SECRET}3", "app", f"nobody:{SECRET}"])
def test_wrong_credentials_are_refused(local_postgresql: PostgreSQL, role: str, user: str) -> None:
    error = refusal(url_of(local_postgresql, user))
    assert not isinstance(error, EngineUnreachable)
    assert re.search("password", str(error))


@pytest.mark.parametrize(
    ("rest", "match"),
    [
        ("missing", 'database "missing" does not exist'),
        ("postgres?sslmode=require", "SSL was required"),
        ("postgres?sslmode=nonsense", "invalid sslmode"),
        ("postgres?port=nonsense", "invalid integer value"),
    ],
)
def test_a_url_that_the_server_does_not_fit_is_refused(
    local_postgresql: PostgreSQL, rest: str, match: str
) -> None:
    error = refusal(url_of(local_postgresql, rest=rest))
    assert not isinstance(error, EngineUnreachable)
    assert match in str(error)


def test_without_a_right_the_error_has_the_sql_that_helps(
    local_postgresql: PostgreSQL, role: str
) -> None:
    local_postgresql.sql("DROP SCHEMA IF EXISTS leaderlock CASCADE")
    url = url_of(local_postgresql, role)
    error = refusal(url)
    assert not isinstance(error, EngineUnreachable)
    sql = str(error).partition("an administrator runs once, in this database:\n")[2]
    local_postgresql.sql(sql)
    sessions = Sessions(url, LEASE)
    leader, _ = sessions.lead()
    leader.renew()
    leader.write("history", b"x")
    assert leader.read("history") == b"x"
    assert sessions.look().term == 1
    leader.resign()
    sessions.close()


def test_without_a_right_to_existing_tables_the_error_has_the_sql_that_helps(
    local_postgresql: PostgreSQL, role: str
) -> None:
    Sessions(url_of(local_postgresql), LEASE).session().write("history", b"x")
    url = url_of(local_postgresql, role)
    assert 'TO "app"' in str(refusal(url))


@pytest.mark.parametrize(
    "table",
    [
        "CREATE TABLE leaderlock.elections (id int)",
        "CREATE TABLE leaderlock.elections (name text)",
        "CREATE TABLE leaderlock.elections (name text PRIMARY KEY, term text)",
        "CREATE VIEW leaderlock.elections AS SELECT 'x' AS name",
    ],
)
def test_a_table_of_another_program_is_refused(local_postgresql: PostgreSQL, table: str) -> None:
    local_postgresql.sql("DROP SCHEMA IF EXISTS leaderlock CASCADE", "CREATE SCHEMA leaderlock", table)
    try:
        error = refusal(url_of(local_postgresql))
        assert not isinstance(error, EngineUnreachable)
        assert "belong to another program" in str(error)
    finally:
        local_postgresql.sql("DROP SCHEMA leaderlock CASCADE")


def test_a_server_that_is_too_old_is_refused(
    local_postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "OLDEST", 99)  # so that the server is
    error = refusal(url_of(local_postgresql))
    assert not isinstance(error, EngineUnreachable)
    assert "this server's version is 15; elections need PostgreSQL 99" in str(error)


def test_a_server_without_a_connection_left_is_asked_again(local_postgresql: PostgreSQL) -> None:
    local_postgresql.sql("CREATE ROLE one LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    try:
        error = refusal(url_of(local_postgresql, "one:x"))
        assert isinstance(error, EngineUnreachable)
        assert "too many connections" in str(error)
    finally:
        local_postgresql.sql("DROP ROLE one")


def test_a_server_that_is_away_is_reported_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = refusal(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db#x")
    assert isinstance(error, EngineUnreachable)
    assert "refused" in str(error)


def test_a_host_without_an_address_is_reported() -> None:
    error = refusal(f"postgresql://u:{SECRET}@host.invalid/db#x")
    assert isinstance(error, EngineUnreachable)
    assert "host.invalid" in str(error)


def test_a_server_that_never_answers_costs_a_third_of_the_lease() -> None:
    with listener(None) as port:
        began = time.monotonic()
        error = refusal(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db#x")
        assert isinstance(error, EngineUnreachable)
        assert LEASE / 3 <= time.monotonic() - began < LEASE


def test_a_server_that_hangs_up_is_reported() -> None:
    with listener(b"") as port:
        error = refusal(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db#x")
        assert isinstance(error, EngineUnreachable)


@pytest.mark.parametrize("sslmode", ["prefer", "disable"])
def test_a_server_of_another_protocol_is_refused(sslmode: str) -> None:
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        error = refusal(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db?sslmode={sslmode}#x")
        assert not isinstance(error, EngineUnreachable)
        assert "received" in str(error)


def test_the_connection_to_a_silent_server_is_cancelled(local_postgresql: PostgreSQL) -> None:
    with listener(None) as port:
        sessions = Sessions(f"postgresql://u:{SECRET}@127.0.0.1:{port}/db#x", 3000.0)
        standby = Standby(sessions.session())
        standby.cancel()
        sessions.close()


def test_the_second_host_serves_if_the_first_is_silent(local_postgresql: PostgreSQL) -> None:
    with listener(None) as port:
        hosts = f"127.0.0.1:{port},host.invalid,{local_postgresql.address()}"
        sessions = Sessions(f"postgresql://postgres@{hosts}/postgres#second{next(_names)}", LEASE)
        leader, _ = sessions.lead()
        leader.renew()
        leader.resign()
        sessions.close()


def test_calls_to_a_paused_server_end_within_a_third_of_the_lease(
    local_postgresql: PostgreSQL,
) -> None:
    sessions = Sessions(local_postgresql.url(f"paused{next(_names)}"), LEASE)
    leader, claim = sessions.lead()
    local_postgresql.pause()
    try:
        calls: list[Callable[[], object]] = [leader.renew, leader.renew, leader.resign, leader.look]
        for call in calls:
            began = time.monotonic()
            with pytest.raises(EngineUnreachable):
                call()
            assert time.monotonic() - began < LEASE
    finally:
        local_postgresql.resume()
    assert leader.renew() > claim.confirmed
    leader.resign()
    sessions.close()


@pytest.mark.slow
def test_a_standby_is_refused_and_the_primary_is_found(postgresql_pair: PostgreSQL) -> None:
    primary, standby = postgresql_pair.address(1), postgresql_pair.address(2)
    place = postgresql_pair.place

    def refusal_of_standby(wanted: str) -> EngineUnusable:
        return refusal(f"postgresql://postgres:{SECRET}@{standby}/postgres{wanted}#standby")

    for wanted in ("", "?target_session_attrs=any"):
        error = place.inside(postgresql_pair.host(1), functools.partial(refusal_of_standby, wanted))
        assert isinstance(error, EngineUnreachable)
        assert "target_session_attrs=read-write" in str(error)

    def lead() -> int:
        sessions = Sessions(f"postgresql://postgres@{standby},{primary}/postgres#standby", LEASE)
        leader, claim = sessions.lead()
        leader.resign()
        sessions.close()
        return claim.term

    assert place.inside(postgresql_pair.host(1), lead) == 1


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_connection_pooler_is_refused(local_postgresql: PostgreSQL, mode: str) -> None:
    place = local_postgresql.place
    address, port = place.add(f"pooler-{mode}"), 6432
    configuration = place.directory / f"pgbouncer-{mode}.ini"
    users = place.directory / "pgbouncer-users"
    users.write_text(f'"postgres" "{SECRET}"\n')
    configuration.write_text(
        f"[databases]\n* = host={local_postgresql.address()} port={local_postgresql.port}\n"
        f"[pgbouncer]\nlisten_addr = {address}\nlisten_port = {port}\nauth_type = trust\n"
        f"auth_file = {users}\npool_mode = {mode}\nunix_socket_dir =\n"
    )
    process = place.start(f"pooler-{mode}", ["/usr/sbin/pgbouncer", configuration], user="postgres")

    def listens() -> bool:
        assert process.poll() is None
        try:
            socket.create_connection((address, port), 1).close()
        except OSError:
            return False
        return True

    until(listens, "pgbouncer")
    error = refusal(f"postgresql://postgres:{SECRET}@{address}:{port}/postgres#x")
    assert not isinstance(error, EngineUnreachable)
    assert "a connection pooler" in str(error)
    process.terminate()
    process.wait()
