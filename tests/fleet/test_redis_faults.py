"""Elections in Redis while links are cut, and while somebody sets the server's clock."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from leaderlock.engines import CalledOff
from tests.fleet.network import Loopback, Network, Place
from tests.fleet.servers import Redis
from tests.fleet.test_redis import LEASE, PROGRAM, SLACK, candidate_of, elect, session_of, until_waiting
from tests.processes import PATIENCE, Child, until

pytestmark = pytest.mark.slow

LOGS = (
    "import logging; logging.basicConfig(stream=sys.stdout, level='WARNING', format='log %(message)s')"
)


@contextmanager
def candidate_at(network: Network, host: str, url: str) -> Iterator[Child]:
    """A candidate on a host of the network, whose warnings are lines that begin with ``log``."""
    with network.inside(host, Child) as child:
        child.tell(LOGS)
        child.tell(PROGRAM % (url, LEASE))
        yield child


def next_line(child: Child, beginning: str) -> str:
    """The next line of a child that begins so."""
    while not (line := child.line(PATIENCE)).startswith(beginning):
        pass
    return line


def term_of(child: Child) -> tuple[int, float]:
    _, term, moment = next_line(child, "leads").split()
    return int(term), float(moment)


def waiting_at(network: Network, redis: Redis) -> int | None:
    """The number of candidates that the server knows to wait, asked on its own host."""

    def look() -> int | None:
        session = session_of(redis.url())
        try:
            return session.look().waiting
        finally:
            session.close()

    return network.inside(redis.host(), look)


def has_ended(child: Child) -> bool:
    try:
        child.wait(0)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.parametrize("fault", ["cut", "drop"])
def test_a_cut_off_leader_is_dead_before_the_next_one_leads(
    network: Network, redis: Redis, fault: str
) -> None:
    redis.call("FLUSHALL")
    with candidate_at(network, "one", redis.url()) as leader:
        term, _ = term_of(leader)
        with candidate_at(network, "two", redis.url()) as second:
            until(lambda: waiting_at(network, redis) == 1, "the second one to wait")
            getattr(network, fault)("one")
            cut = time.monotonic()
            later, moment = term_of(second)
            assert has_ended(leader)
            assert later > term
            assert moment - cut < 1.1 * LEASE + SLACK


def test_a_leader_that_is_cut_off_for_a_moment_leads_on(network: Network, redis: Redis) -> None:
    redis.call("FLUSHALL")
    with candidate_at(network, "one", redis.url()) as leader:
        term_of(leader)
        with candidate_at(network, "two", redis.url()) as second:
            until(lambda: waiting_at(network, redis) == 1, "the second one to wait")
            network.drop("one")
            next_line(leader, "log")  # "the lease could not be renewed"
            network.heal("one")
            next_line(leader, "log")  # "the lease is renewed again"
            assert second.is_silent(1.5 * LEASE)
            assert leader.tell("candidate.is_leader") is True


def test_a_candidate_that_was_cut_off_while_it_waited_comes_back(
    network: Network, redis: Redis
) -> None:
    redis.call("FLUSHALL")
    with candidate_at(network, "one", redis.url()) as leader:
        term, _ = term_of(leader)
        with candidate_at(network, "two", redis.url()) as second:
            until(lambda: waiting_at(network, redis) == 1, "the second one to wait")
            network.drop("two")
            assert "does not answer" in next_line(second, "log")  # the kernel's probes had no answer
            network.heal("two")
            # The server knows the old connection of the candidate still.
            until(lambda: waiting_at(network, redis) == 2, "the second one to wait again")
            killed = time.monotonic()
            leader.kill()
            later, moment = term_of(second)
            assert later > term
            assert moment - killed < 1.1 * LEASE + SLACK


class ClockedRedis(Redis):
    """A server whose clock can be set.

    Args:
        place: see `Server`.
        library: `set_clock.c`, compiled.
    """

    scheme = "clocked"

    def __init__(self, place: Place, library: Path) -> None:
        super().__init__(place)
        self.library = library
        self.offset = library.with_suffix(".offset")
        self.set_clock(0)

    def set_clock(self, seconds: int) -> None:
        """Let the server's clock go by so many seconds from the true time."""
        new = self.offset.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.replace(self.offset)

    def command(self, node: int) -> Sequence[str | Path]:
        environment = f"LD_PRELOAD={self.library}", f"CLOCK_OFFSET={self.offset}"
        return ["env", *environment, *super().command(node)]


@pytest.fixture(scope="module")
def clocked_server(loopback: Loopback) -> Iterator[ClockedRedis]:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.fail("this test needs gcc, for a server whose clock can be set", pytrace=False)
    library = loopback.directory / "set_clock.so"
    source = Path(__file__).with_name("set_clock.c")
    subprocess.run([compiler, "-Wall", "-shared", "-fPIC", "-o", library, source], check=True)
    server = ClockedRedis(loopback, library)
    server.start()
    yield server
    server.crash()


@pytest.fixture
def clocked(clocked_server: ClockedRedis) -> ClockedRedis:
    clocked_server.set_clock(0)
    clocked_server.call("FLUSHALL")
    return clocked_server


@pytest.mark.parametrize("seconds", [60, -60])
def test_a_clock_that_is_set_makes_no_second_leader_and_does_not_keep_the_next_one_away(
    clocked: ClockedRedis, seconds: int
) -> None:
    with candidate_of(clocked.url()) as leader:
        term, _ = term_of(leader)
        with candidate_of(clocked.url()) as second:
            until_waiting(clocked.url())
            clocked.set_clock(seconds)
            newcomer = session_of(clocked.url())
            with pytest.raises(CalledOff):
                elect(newcomer, limit=0)
            newcomer.close()
            assert second.is_silent(1.5 * LEASE)
            assert leader.tell("candidate.is_leader") is True
            killed = time.monotonic()
            leader.kill()
            later, moment = term_of(second)
            assert later > term
            assert moment - killed < 2.1 * LEASE + SLACK


def test_a_new_candidate_does_not_wait_for_a_lease_of_a_clock_that_was_set_back(
    clocked: ClockedRedis,
) -> None:
    with candidate_of(clocked.url()) as leader:
        term, _ = term_of(leader)
        leader.kill()
        clocked.set_clock(-60)
        with candidate_of(clocked.url()) as second:
            came = time.monotonic()
            later, moment = term_of(second)
            assert later > term
            assert moment - came < 1.2 * LEASE + SLACK


def test_a_leader_that_dies_as_the_clock_is_set_forward_is_followed_after_a_lease_more(
    clocked: ClockedRedis,
) -> None:
    with candidate_of(clocked.url()) as leader:
        term_of(leader)
        with candidate_of(clocked.url()) as second:
            until_waiting(clocked.url())
            leader.kill()
            clocked.set_clock(60)
            moved = time.monotonic()
            _, moment = term_of(second)
            assert LEASE <= moment - moved < 1.2 * LEASE + SLACK
