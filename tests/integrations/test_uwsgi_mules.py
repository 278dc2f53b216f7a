"""Mules of real uWSGI: a task in one, by `in_one_mule`, or by a program that campaigns by itself."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from leaderlock import Unsupported
from leaderlock.integrations.uwsgi import in_one_mule
from tests.integrations.uwsgi_server import EXAMPLES, OSAFTERFORK, Serve, Server, build, serve
from tests.processes import until

pytestmark = pytest.mark.slow

__all__ = ["build", "serve"]  # fixtures

IN_ONE_MULE = """
from leaderlock.integrations import uwsgi as integration

in_one_mule = integration.in_one_mule
integration.in_one_worker = lambda task, **arguments: None
from uwsgi_app import application, report

in_one_mule(report, path=os.environ["EXAMPLE_LOCK"])
"""

JUST_APP = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""
MULE = """
import uwsgi

while True:
    uwsgi.mule_get_msg()
"""
ITS_OWN = str(EXAMPLES / "uwsgi_mule.py")


WITH_MULES = {
    "plain": ["--mules", "2"],
    "with a module": ["--mule=mule.py", "--mule=mule.py"],
    **{mode: ["--mules", "2", *options] for mode, options in OSAFTERFORK.items()},
    "by itself": [f"--mule={ITS_OWN}", f"--mule={ITS_OWN}"],
    "by itself, lazy-apps": [f"--mule={ITS_OWN}", f"--mule={ITS_OWN}", "--lazy-apps"],
}


@pytest.fixture(params=WITH_MULES)
def with_mules(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Server:
    """A server with a worker, which accepts requests, and two mules, one of which leads."""
    (tmp_path / "mule.py").write_text(MULE)
    server = serve(
        *("--enable-threads", "--master", "--master-fifo", "fifo", "--die-on-term"),
        *WITH_MULES[request.param],
        app=JUST_APP if "itself" in request.param else IN_ONE_MULE,
        processes=1,
    )
    until(server.accepted, "the worker to accept")
    return server


def test_one_mule_leads_and_the_next_one_when_it_is_killed(with_mules: Server) -> None:
    term = 0
    dead: set[int] = set()
    for _ in range(3):
        standing = with_mules.stand(2, without=dead)
        leader = with_mules.leader(after=term, among=standing)
        term, dead = leader.term, {leader.pid}
        with_mules.kill(leader.pid)
    with_mules.leader(after=term)
    assert with_mules.stand(2, without=dead) <= with_mules.mules()
    assert with_mules.get() not in with_mules.candidates(), "a worker stands"
    with_mules.check_one_at_a_time()


@pytest.mark.parametrize("command", ["r", "R"])
def test_a_new_mule_leads_after_a_reload_of_the_server(with_mules: Server, command: str) -> None:
    old = with_mules.stand(2)
    leader = with_mules.leader(among=old)
    with_mules.tell(command)
    new = with_mules.stand(2, without=old)
    with_mules.leader(after=leader.term, among=new)
    with_mules.until_stopped(leader.term)
    with_mules.check_one_at_a_time()


def test_the_task_is_asked_to_stop_when_a_mule_ends(with_mules: Server) -> None:
    old = with_mules.stand(2)
    leader = with_mules.leader(among=old)
    with_mules.kill(leader.pid, signal.SIGHUP)
    with_mules.leader(after=leader.term)
    with_mules.until_stopped(leader.term)
    with_mules.stand(2, without={leader.pid})
    with_mules.kill(with_mules.process.pid, signal.SIGTERM)
    with_mules.process.wait(30)
    assert with_mules.events()[-1].what == "stop"
    assert not with_mules.candidates()
    with_mules.check_one_at_a_time()


def test_mules_lead_on_when_the_workers_are_reloaded(with_mules: Server) -> None:
    standing = with_mules.stand(2)
    leader = with_mules.leader(among=standing)
    worker = with_mules.get()
    accepted = with_mules.accepted()
    with_mules.tell("w")
    # A worker that is on its way out may reset whom it has just accepted, so nobody asks before.
    until(lambda: with_mules.accepted() > accepted, "a new worker to accept")
    assert with_mules.get() != worker
    assert with_mules.stand(2) == standing
    assert {event.term for event in with_mules.events()} == {leader.term}


def test_workers_and_mules_may_stand_for_one_election(serve: Serve) -> None:
    app = "from uwsgi_app import application"
    options = ("--enable-threads", "--master", "--mule=" + ITS_OWN)
    server = serve(*options, app=app, processes=2)
    term = 0
    dead: set[int] = set()
    led = set()
    for _ in range(6):
        server.stand(3, without=dead)
        leader = server.leader(after=term)
        term, dead = leader.term, {leader.pid}
        led.add(leader.pid in server.mules())
        server.kill(leader.pid)
    server.leader(after=term)
    server.stand(3, without=dead)
    assert led == {False, True}
    server.check_one_at_a_time()


def test_a_server_without_mules_is_a_clear_error_in_the_log(serve: Serve) -> None:
    server = serve("--enable-threads", "--master", "--need-app", app=IN_ONE_MULE)
    assert server.process.wait(30) != 0
    assert "Unsupported: this uWSGI server has no mule" in server.log
    assert "--mules 2" in server.log


def test_a_worker_that_calls_it_is_a_clear_error_in_the_log(serve: Serve) -> None:
    options = ("--enable-threads", "--master", "--lazy-apps", "--mules", "2")
    server = serve(*options, app=IN_ONE_MULE, processes=1)
    server.logs("Unsupported: in_one_mule is for an application that the master loads")


def test_outside_of_uwsgi_it_is_a_clear_error() -> None:
    with pytest.raises(Unsupported, match="not a uWSGI server"):
        in_one_mule(lambda leadership: None)
