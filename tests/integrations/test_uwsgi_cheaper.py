"""Real uWSGI whose workers come and go (cheaper, harakiri, max-requests): one of those there leads."""

from __future__ import annotations

import threading

import pytest

from tests.integrations.uwsgi_server import Build, Serve, Server, build, serve
from tests.processes import until
from tests.supervisor.pid1 import children_of

pytestmark = pytest.mark.slow

__all__ = ["build", "serve"]  # fixtures

SLOW = """
import time
from uwsgi_app import application as answer

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        while not os.path.exists("go"):
            time.sleep(0.01)
    if environ["PATH_INFO"] == "/hang":
        time.sleep(600)
    return answer(environ, start_response)
"""
MERCY = ("--worker-reload-mercy", "3")
"""2.0.21 hangs at the end of a worker with threads that has served enough, and is killed then. It was
also seen to end without its exit handlers, when two threads had served enough at the same moment."""
UNASKED = ("--cheaper-overload", "1000")
"""Seconds without requests after which the master would end a worker by itself."""
COMMON = ("--enable-threads", "--master", "--die-on-term", "--master-fifo", "fifo")
ALGORITHMS = {
    "spare": ["--cheaper-algo", "spare", "--cheaper-overload", "1"],
    "busyness": [
        *("--cheaper-algo", "busyness", "--cheaper-overload", "1"),
        *("--cheaper-busyness-multiplier", "1", "--cheaper-busyness-max", "20"),
        *("--cheaper-busyness-min", "10", "--cheaper-step", "2"),
    ],
}


def tell(server: Server, command: str) -> None:
    """Ask for a worker more or less, when all that have ended are reaped: "+" starts one of these."""
    until(
        lambda: set(children_of(server.process.pid)) == server.candidates(),
        "the master to reap the workers that have ended",
    )
    server.tell(command)


def leads_alone(server: Server, standing: int) -> None:
    """So many stand, and one of them leads on."""
    there = server.stand(standing)
    leader = server.leader(among=there)
    ticks = len(server.events())
    until(lambda: len(server.events()) > ticks + 2, "the leader to go on")
    assert server.events()[-1].pid == leader.pid
    server.check_one_at_a_time()


@pytest.mark.parametrize("loading", [[], ["--lazy-apps"]], ids=["by the master", "lazy-apps"])
def test_workers_that_come_and_go_have_one_leader(serve: Serve, loading: list[str]) -> None:
    server = serve(
        *(*COMMON, *UNASKED, "--cheaper", "1", "--cheaper-initial", "1", *loading),
        app="from uwsgi_app import application",
        processes=3,
    )
    leads_alone(server, 1)
    for command, standing in [("+", 2), ("+", 3), ("-", 2), ("-", 1), ("+", 2)]:
        tell(server, command)
        leads_alone(server, standing)
    leader = server.leader()
    server.kill(leader.pid)
    server.leader(after=leader.term)
    leads_alone(server, 2)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_load_brings_candidates_and_rest_takes_them_away(
    serve: Serve, build: Build, algorithm: list[str]
) -> None:
    plugin = build.plugin("cheaper_busyness") if "busyness" in algorithm else []
    server = serve(*plugin, *COMMON, "--cheaper", "1", *algorithm, app=SLOW, processes=3)
    leads_alone(server, 1)
    clients = [threading.Thread(target=server.get, args=["/slow"]) for _ in range(12)]
    for client in clients:
        client.start()
    until(lambda: len(server.candidates()) > 1, "more workers")
    (server.directory / "go").touch()
    for client in clients:
        client.join()
    server.stand(1)
    leads_alone(server, 1)


def test_in_cheap_mode_nobody_leads_before_the_first_request(serve: Serve) -> None:
    server = serve(*COMMON, "--cheap", app="from uwsgi_app import application", processes=2)
    server.logs("cheap mode enabled")
    assert not server.candidates()
    server.get()
    leads_alone(server, 2)


def test_a_leader_that_is_cheaped_hands_over(serve: Serve) -> None:
    """The last worker goes first, and leads if those before it were killed."""
    words = ("--cheaper", "1", "--cheaper-initial", "2")
    server = serve(*COMMON, *UNASKED, *words, app=SLOW, processes=2)
    server.stand(2)
    leader = server.leader()
    if f"spawned uWSGI worker 1 (pid: {leader.pid}" in server.log:
        server.kill(leader.pid)
        leader = server.leader(after=leader.term)
        server.stand(2)
    tell(server, "-")
    server.stand(1)
    while leader.pid in server.candidates():  # uWSGI has ended the other one, as it may
        tell(server, "+")
        server.stand(2)
        tell(server, "-")
        server.stand(1)
    server.leader(after=leader.term)
    server.until_stopped(leader.term)
    leads_alone(server, 1)


def test_harakiri_of_the_leader_passes_the_leadership_on(serve: Serve) -> None:
    server = serve(*COMMON, "--harakiri", "1", app=SLOW, processes=2)
    term = 0
    for _ in range(2):
        server.complete()
        leader = server.leader(after=term)
        term = leader.term
        # Whichever worker takes it; the other one gets the next.
        clients = [threading.Thread(target=hang, args=[server]) for _ in range(2)]
        for client in clients:
            client.start()
        second = server.leader(after=term)
        assert second.pid != leader.pid
        for client in clients:
            client.join()
        term = server.leader().term - 1
    assert "HARAKIRI" in server.log
    server.complete()
    server.check_one_at_a_time()


def hang(server: Server) -> None:
    """A request whose worker is killed; nobody answers."""
    with pytest.raises(Exception):  # noqa: B017  (what the kernel and http.client make of it)
        server.get("/hang")


@pytest.mark.parametrize("threads", [[], ["--threads", "2"]], ids=["one thread", "threads"])
def test_a_leader_that_has_served_its_requests_hands_over(
    serve: Serve, build: Build, threads: list[str]
) -> None:
    server = serve("--max-requests", "5", "--min-worker-lifetime", "0", *threads, *MERCY)
    term = 0
    for _ in range(2):
        server.complete()
        leader = server.leader(after=term)
        term = leader.term
        server.serve_until_gone(leader.pid)
        server.leader(after=term)
        if not threads or build.version >= (2, 0, 30):
            server.until_stopped(term)
    server.check_one_at_a_time()
