"""Programs that stand in etcd: killed, under gevent and eventlet, and over TLS."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leaderlock import EngineUnusable
from leaderlock.engines import CalledOff
from tests import late_imports
from tests.fleet.certificates import certificate
from tests.fleet.network import Loopback, Place
from tests.fleet.patched import green_url, require_cooperation
from tests.fleet.servers import Etcd
from tests.fleet.sessions import Sessions
from tests.processes import PATIENCE, Child, needs_root, until
from tests.test_native_threads import libraries

LEASE = 3.0
LONG = 60.0
"""Seconds; for what must not end meanwhile, on the slowest machine."""

LEADS = """
led = threading.Event()
def task(leadership):
    led.set()
    for _ in leadership.every(0.1):
        pass
candidate = leaderlock.Election({url!r}, lease={lease}).start(task)
"""


def leads(child: Child, url: str, lease: float = LEASE) -> None:
    child.begin(f"exec({LEADS.format(url=url, lease=lease)!r}, globals())")
    child.answer()


def test_a_standby_leads_after_the_leader_is_killed(local_etcd: Etcd) -> None:
    url = local_etcd.url("killed")
    with contextlib.closing(Sessions(url, LEASE, local_etcd.sessions)) as sessions, Child() as child:
        leads(child, url)
        assert child.tell("led.wait(60)")
        term = sessions.look().term
        standby = sessions.standby()
        child.kill()
        assert standby.claim().term > term


def test_a_process_leads_after_the_leader_resigns(local_etcd: Etcd) -> None:
    url = local_etcd.url("resigned")
    with contextlib.closing(Sessions(url, LONG, local_etcd.sessions)) as sessions, Child() as child:
        leader, _ = sessions.lead()
        waiting = local_etcd.sessions()
        leads(child, url, LONG)
        until(lambda: local_etcd.sessions() > waiting, "the process to wait")
        leader.resign()
        assert child.tell("led.wait(60)")
        assert child.tell("candidate.stop(60)")
        until(lambda: sessions.look().leader is None, "the process to resign")


def test_a_leader_that_reaches_no_member_dies_before_the_next_one_leads(local_etcd: Etcd) -> None:
    url = local_etcd.url("away")
    with contextlib.closing(Sessions(url, LEASE, local_etcd.sessions)) as sessions, Child() as child:
        leads(child, url)
        assert child.tell("led.wait(60)")
        local_etcd.pause()
        child.wait()  # the kernel ends it
        local_etcd.resume()
        until(lambda: sessions.look().leader is None, "the lease to end")


@libraries
def test_a_patched_process_waits_and_leads_and_its_hub_runs_on(
    local_etcd: Etcd, library: dict[str, str]
) -> None:
    url = green_url(local_etcd.url, library)
    with contextlib.closing(Sessions(url, LONG, local_etcd.sessions)) as sessions:
        leader, _ = sessions.lead()
        waiting = local_etcd.sessions()
        require_cooperation(
            library,
            url,
            is_waiting=lambda: local_etcd.sessions() > waiting,
            resign=leader.resign,
            stand=lambda: sessions.standby().claim,
        )


class TlsEtcd(Etcd):
    """With a certificate of its own; its health is told without TLS, at another port."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.certificate, key = certificate(place.directory, "etcd", self.address())
        key.chmod(0o644)  # the server runs as another user
        self._key = key

    def host(self, node: int = 1) -> str:
        return f"tls-{node}"

    def command(self, node: int) -> Sequence[str | Path]:
        words = [str(word) for word in super().command(node)]
        for option in ("--listen-client-urls", "--advertise-client-urls"):
            words[words.index(option) + 1] = f"https://{self.address()}:{self.port}"
        return [
            *words,
            *("--cert-file", self.certificate, "--key-file", self._key),
            *("--listen-metrics-urls", f"http://{self.address()}:2381"),
        ]

    def _request(self, method: str, path: str, body: str | None, node: int) -> str:
        connection = http.client.HTTPConnection(self.address(node), 2381, timeout=5)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read().decode()

    def url(self, name: str = "health") -> str:
        return f"etcds://{self.address()}:{self.port}/app/{name}?ca={self.certificate}"


@pytest.fixture(scope="module")
def tls(loopback: Loopback) -> Iterator[TlsEtcd]:
    server = TlsEtcd(loopback)
    server.start()
    yield server
    server.stop()


def test_an_election_over_tls(tls: TlsEtcd) -> None:
    with contextlib.closing(Sessions(tls.url(), LONG, tls.sessions)) as sessions:
        leader, claim = sessions.lead()
        leader.write("history", b"[" + b"1," * 30_000 + b"1]")
        assert len(leader.read("history") or b"") == 60_003
        standby, cancelled = sessions.standby(), sessions.standby()
        leader.renew()
        assert isinstance(cancelled.cancel(), CalledOff)
        leader.resign()
        assert standby.claim().term > claim.term
        standby.session.resign()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.partition("?")[0], "certificate cannot be verified"),
        (lambda url: url.replace("etcds:", "etcd:").partition("?")[0], r"by etcds:// if they use TLS"),
    ],
    ids=["unknown authority", "plain"],
)
def test_a_certificate_that_is_not_trusted_is_refused(
    tls: TlsEtcd, change: object, message: str
) -> None:
    assert callable(change)
    url = change(tls.url())
    with contextlib.closing(Sessions(url, LEASE, tls.sessions)) as sessions:
        attempt = pytest.raises(EngineUnusable, match=message)
        with attempt:
            sessions.lead()


def test_plain_http_is_no_tls(local_etcd: Etcd, tls: TlsEtcd) -> None:
    url = f"etcds://{local_etcd.address()}:{local_etcd.port}/x?ca={tls.certificate}"
    with contextlib.closing(Sessions(url, LEASE, tls.sessions)) as sessions:
        attempt = pytest.raises(EngineUnusable, match="no member")
        with attempt:
            sessions.lead()


LATE = """
import importlib.util, os, sys, threading
import leaderlock
url, module, report = sys.argv[1:]
led = threading.Event()
def task(leadership):
    led.set()
    leadership.wait(2)  # longer than a quarter of the lease: a renewal
    leadership.check()
election = leaderlock.Election(url, lease=6, on_return="resign")
spec = importlib.util.spec_from_file_location("late_imports", module)
late_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late_imports)
late_imports.forbid(report)
if os.fork() == 0:
    print("stands", flush=True)
    election.run(task)
    print("has led", flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.parametrize("scheme", ["etcd", "etcds"])
def test_a_candidate_imports_nothing_after_a_fork(
    local_etcd: Etcd, tls: TlsEtcd, scheme: str, tmp_path: Path
) -> None:
    server = local_etcd if scheme == "etcd" else tls
    url, report = server.url("late"), tmp_path / "report"
    if scheme == "etcd":
        url = url.replace("//127.", "//0x7f.")  # which the resolver takes, and inet_pton(3) does not
    words = [sys.executable, "-c", LATE, url, late_imports.__file__, str(report)]
    with contextlib.closing(Sessions(server.url("late"), LONG, server.sessions)) as sessions:
        leader, _ = sessions.lead()
        waiting = server.sessions()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "stands\n"
            until(lambda: server.sessions() > waiting, "the process to wait")
            leader.resign()
            assert process.stdout.readline() == "has led\n"
        assert process.returncode == 0
    assert late_imports.late(str(report)) == []


STOPS = """
import sys
import leaderlock
candidate = leaderlock.Election(sys.argv[1]).start(print)
sys.stdin.readline()
print(candidate.stop(60), flush=True)
"""


def test_a_resolver_that_is_silent_delays_nobody(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with Loopback() as place, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind((place.add("resolver"), 53))
        resolver.settimeout(PATIENCE)
        settings = tmp_path / "resolv.conf"
        settings.write_text(f"nameserver {place.hosts['resolver']}\noptions timeout:30 attempts:5\n")
        prefix = [
            "unshare",
            "-m",
            "sh",
            "-c",
            'mount --bind "$0" /etc/resolv.conf && exec "$@"',
            str(settings),
        ]
        url = "etcd://slow.example/app"
        words = [*prefix, sys.executable, "-c", STOPS, url]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert b"slow" in resolver.recv(512)
            assert process.communicate("\n", PATIENCE)[0] == "True\n"
        command = [*prefix, sys.executable, "-m", "leaderlock", "status", url]
        status = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert "slow.example:2379: no answer in time (resolving slow.example)" in status.stderr


def test_without_tls_no_code_for_tls_is_loaded() -> None:
    code = (
        "import sys, leaderlock; leaderlock.Election('etcd://h/app', lease=3);"
        "print(sorted({'asyncio', 'http', 'ssl'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert said.stdout.strip() == "[]"
