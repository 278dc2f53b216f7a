"""ZooKeeper over TLS: `zookeepers://`, with a real server that asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leaderlock.engines import engine_of
from tests.fleet.certificates import certificate
from tests.fleet.network import Loopback, Place
from tests.fleet.servers import ZooKeeper
from tests.processes import Child
from tests.test_run import run

LEASE = 4


class Encrypted(ZooKeeper):
    """Listens on a second port with TLS; Debian's zookeeper.jar does not name all jars of Netty."""

    secure_port = 2281
    jars = "/usr/share/java/zookeeper.jar:/usr/share/java/netty-codec.jar"

    def __init__(self, place: Place, nodes: int = 1) -> None:
        super().__init__(place, nodes)
        self.trusted, self._key = certificate(place.directory, "zookeeper", self.address())

    def command(self, node: int) -> Sequence[str | Path]:
        """See `Server.command`."""
        *java, _, _, main, configuration = super().command(node)
        both = self.directory(node) / "both.pem"
        both.write_text(self._key.read_text() + self.trusted.read_text())
        shutil.chown(both, self.user, self.user)
        with open(configuration, "a", encoding="ascii") as lines:
            lines.write(f"\nsecureClientPort={self.secure_port}\n")
            lines.write(f"secureClientPortAddress={self.address(node)}\n")
        options = {
            "serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory",
            "ssl.keyStore.location": both,
            "ssl.trustStore.location": both,
            "ssl.clientAuth": "none",
        }
        settings = [f"-Dzookeeper.{name}={value}" for name, value in options.items()]
        return [*java, *settings, "-cp", self.jars, main, configuration]

    def secure_url(self, name: str, parameters: str) -> str:
        return f"zookeepers://{self.address()}:{self.secure_port}/app/{name}?{parameters}"


@pytest.fixture
def encrypted() -> Iterator[Encrypted]:
    with Loopback() as place:
        server = Encrypted(place)
        server.start()
        yield server


@pytest.mark.slow
def test_an_election_with_tls_trusts_the_named_authority_alone(encrypted: Encrypted) -> None:
    url = encrypted.secure_url("tls", f"ca={encrypted.trusted}")
    with Child(url) as child:
        child.tell(
            "def task(leadership):\n"
            "    print(leadership.term, flush=True)\n"
            "    for _ in leadership.every(0.2): pass\n"
            f"candidate = leaderlock.Election(argv[0], lease={LEASE}).start(task)"
        )
        term = child.line()
        shown = run("status", url)
        assert f"process {child.pid} on" in shown.stdout
        assert f"leads, term {term}" in shown.stdout
        for wrong, why in (
            (encrypted.secure_url("tls", ""), "certificate verify failed"),
            (url.replace("zookeepers", "zookeeper").partition("?")[0], "grants no session"),
        ):
            refused = run("status", wrong)
            assert refused.returncode == 125
            assert why in refused.stderr
        child.tell("candidate.stop()")


def test_the_parameters_of_tls_are_checked_with_the_url(tmp_path: Path) -> None:
    for url, why in (
        ("zookeepers://h/x?cal=/x", r"has no parameter 'cal'; did you mean ca\?"),
        ("zookeeper://h/x?ca=/x", r"\(zookeepers:// has ca, cert and key\)"),
        ("zookeepers://h/x?key=/x", "the parameter key needs cert"),
        (f"zookeepers://h/x?ca={tmp_path}/none", "cannot be used: .*No such file"),
    ):
        with pytest.raises(ValueError, match=why):
            engine_of(url)
