"""PostgreSQL in odd conditions: under gevent and eventlet, over TLS, and with a clock that jumps."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from leaderlock.engines.leased.waiting import Waiting
from leaderlock.engines.postgresql.names import Names
from leaderlock.errors import EngineUnreachable, EngineUnusable
from tests.fleet.certificates import certificate
from tests.fleet.network import Loopback, Place
from tests.fleet.patched import WAITS, green_url, require_cooperation
from tests.fleet.servers import PostgreSQL
from tests.fleet.sessions import Sessions, acquire
from tests.processes import PATIENCE, Child, until
from tests.test_native_threads import libraries

LEASE = 3.0

Result = TypeVar("Result")

LEADS = """
led = threading.Event()
def task(leadership):
    led.set()
    leadership.stopping.wait()
candidate = leaderlock.Election({url!r}, lease={lease}, within={within!r}).start(task)
"""


def stand(child: Child, url: str, within: Path | None = None) -> None:
    source = LEADS.format(url=url, lease=LEASE, within=None if within is None else str(within))
    child.tell(f"exec({source!r}, globals())")


def test_a_leader_that_reaches_no_server_dies_before_the_next_one_leads(
    local_postgresql: PostgreSQL,
) -> None:
    with (
        contextlib.closing(Sessions(local_postgresql.url("away"), LEASE)) as sessions,
        Child() as child,
        Child() as standby,
    ):
        stand(child, sessions.url)
        assert child.tell("led.wait(60)")
        stand(standby, sessions.url)
        until(lambda: sessions.look().waiting == 1, "the next one to wait")
        local_postgresql.pause()
        child.wait()  # the kernel ends it
        assert not standby.tell("led.is_set()")
        local_postgresql.resume()
        assert standby.tell("led.wait(60)")
        assert sessions.look().term == 2


def test_a_process_of_the_same_machine_takes_over_at_once(
    local_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    with (
        contextlib.closing(Sessions(local_postgresql.url("within"), LEASE)) as sessions,
        Child() as first,
        Child() as second,
    ):
        stand(first, sessions.url, tmp_path / "within.lock")
        assert first.tell("led.wait(60)")
        stand(second, sessions.url, tmp_path / "within.lock")
        standby = sessions.standby()
        second.begin("led.wait(60)")
        killed = time.monotonic()
        first.kill()
        assert second.answer()
        assert time.monotonic() < killed + LEASE / 2
        assert not standby.has_ended
        assert second.tell("candidate.stop(60)")
        assert standby.claim().term == 3


def test_standing_and_leading_import_nothing(local_postgresql: PostgreSQL) -> None:
    hosts = f"b\u00fccher.invalid,localhost,{local_postgresql.address()}"
    url = f"postgresql://postgres@{hosts}:{local_postgresql.port}/postgres#imports"
    with Child() as child:
        child.tell("from leaderlock.engines import engine_of, Waiting")
        child.tell(f"engine = engine_of({url!r}, {LEASE}); waiting = Waiting()")
        child.tell("before = set(sys.modules)")
        child.tell("session = engine.connect()")
        assert child.tell("waiting.run(lambda: session.acquire(waiting, None)).term") == 1
        child.tell("session.write('history', b'x'); session.read('history'); session.look()")
        child.tell("session.renew(); session.resign()")
        assert child.tell("set(sys.modules) - before") == set()


@pytest.mark.slow
def test_a_leader_leads_on_after_the_promotion_of_a_synchronous_standby(
    postgresql_pair: PostgreSQL,
) -> None:
    def inside(call: Callable[[], Result]) -> Result:
        return postgresql_pair.place.inside(postgresql_pair.host(1), call)

    def is_renewed() -> bool:
        try:
            inside(leader.renew)
        except EngineUnreachable:
            return False
        return True

    with contextlib.closing(Sessions(postgresql_pair.url("promotion"), LEASE)) as sessions:
        leader = sessions.session()
        claim = inside(lambda: acquire(leader, Waiting(None, PATIENCE), None))
        postgresql_pair.crash(1)
        assert not is_renewed()
        postgresql_pair.promote()
        until(is_renewed, "the new primary")
        assert inside(sessions.look).term == claim.term
        inside(leader.resign)
        following = sessions.session()
        assert inside(lambda: acquire(following, Waiting(None, PATIENCE), None)).term == claim.term + 1


@pytest.mark.slow
@libraries
def test_a_patched_process_waits_and_leads_and_its_hub_runs_on(
    local_postgresql: PostgreSQL, library: dict[str, str]
) -> None:
    url = green_url(local_postgresql.url, library)
    with contextlib.closing(Sessions(url, 60.0)) as sessions:
        leader, _ = sessions.lead()
        require_cooperation(
            library,
            url,
            is_waiting=lambda: sessions.look().waiting == 1,
            resign=leader.resign,
            stand=lambda: sessions.standby().claim,
            body=WAITS,
            lease=3,
        )


class TlsPostgreSQL(PostgreSQL):
    """With a certificate of its own."""

    def host(self, node: int = 1) -> str:
        return f"tls-{node}"

    def prepare(self, node: int) -> None:
        super().prepare(node)
        self.certificate, key = certificate(self.place.directory, "postgresql", self.address())
        shutil.chown(key, self.user)
        with open(self.directory(node) / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"ssl = on\nssl_cert_file = '{self.certificate}'\nssl_key_file = '{key}'\n")

    def url(self, name: str = "health") -> str:
        verified = f"?sslmode=verify-full&sslrootcert={self.certificate}"
        return f"postgresql://postgres@{self.address()}:{self.port}/postgres{verified}#{name}"


@pytest.fixture(scope="module")
def tls(loopback: Loopback) -> Iterator[TlsPostgreSQL]:
    server = TlsPostgreSQL(loopback)
    server.start()
    yield server
    server.stop()


def test_an_election_over_tls(tls: TlsPostgreSQL) -> None:
    with contextlib.closing(Sessions(tls.url(), LEASE)) as sessions:
        leader, claim = sessions.lead()
        leader.write("history", b"[" + b"1," * 300_000 + b"1]")
        assert len(leader.read("history") or b"") == 600_003
        standby = sessions.standby()
        leader.renew()
        leader.resign()
        assert standby.claim().term > claim.term
        standby.session.resign()


def test_a_certificate_that_is_not_trusted_is_refused(tls: TlsPostgreSQL, tmp_path: Path) -> None:
    trusted = tmp_path / "other.pem"
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", trusted)
    url = tls.url().replace(str(tls.certificate), str(trusted))
    with contextlib.closing(Sessions(url, LEASE)) as sessions:
        with pytest.raises(EngineUnusable, match="certificate") as caught:
            sessions.lead()
        assert not isinstance(caught.value, EngineUnreachable)


JUMP = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int failed = syscall(SYS_gettimeofday, now, zone);
    if (!failed && access(getenv("JUMP"), F_OK) == 0) now->tv_sec += 3600;
    return failed;
}
"""
"""PostgreSQL's clock; it is an hour ahead while a file exists."""


class JumpingPostgreSQL(PostgreSQL):
    """With a clock that can be set forward."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.jump = place.directory / "jump"
        self._library = place.directory / "jump.so"
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(self._library)]
        subprocess.run(command, input=JUMP.encode(), check=True)

    def host(self, node: int = 1) -> str:
        return f"jumping-{node}"

    def command(self, node: int) -> Sequence[str | Path]:
        return ["env", f"LD_PRELOAD={self._library}", f"JUMP={self.jump}", *super().command(node)]

    def take_seat(self, sessions: Sessions) -> None:
        """End the leader's session, and with it its lock."""
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {self.seat(sessions)}")

    def seat(self, sessions: Sessions) -> str:
        return f"granted AND objid = {Names(sessions.engine.name).seat & 0xFFFFFFFF}"

    def holder(self, sessions: Sessions) -> list[tuple[object, ...]]:
        return self.sql(
            f"SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {self.seat(sessions)}"
            " AND wait_event = 'ClientRead'"
        )


@pytest.fixture(scope="module")
def jumping(loopback: Loopback) -> Iterator[JumpingPostgreSQL]:
    server = JumpingPostgreSQL(loopback)
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("is_fresh", [False, True])
def test_nobody_leads_beside_a_leader_after_the_servers_clock_was_set_forward(
    jumping: JumpingPostgreSQL, is_fresh: bool
) -> None:
    with contextlib.closing(Sessions(jumping.url(f"jump{is_fresh}"), 30.0)) as sessions:
        leader, _ = sessions.lead()
        standby = None if is_fresh else sessions.standby()
        [before] = jumping.holder(sessions)
        ((then,),) = jumping.sql("SELECT extract(epoch FROM clock_timestamp())")
        jumping.jump.touch()
        try:
            ((now,),) = jumping.sql("SELECT extract(epoch FROM clock_timestamp())")
            assert now > then + 3000
            jumping.take_seat(sessions)
            until(lambda: jumping.holder(sessions) != [before], "the end of the session")
            if standby is None:
                assert not sessions.is_elected()
            else:
                until(lambda: jumping.holder(sessions), "the candidate to have the seat")
            leader.renew()
            assert standby is None or not standby.has_ended
            leader.resign()
        finally:
            jumping.jump.unlink()
