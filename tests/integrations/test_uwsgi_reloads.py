"""Real uWSGI that is reloaded, by touch or by its master's FIFO: one leads, and one does after."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.integrations.uwsgi_server import Serve, build, serve
from tests.processes import until

pytestmark = pytest.mark.slow

__all__ = ["build", "serve"]  # fixtures

LOADING = pytest.mark.parametrize("loading", [[], ["--lazy-apps"]], ids=["by the master", "lazy-apps"])


def touch(path: Path) -> None:
    """Change its time by more than the file system's clock may hide."""
    now = path.stat().st_mtime
    os.utime(path, (now + 10, now + 10))


@LOADING
@pytest.mark.parametrize("option", ["--touch-reload", "--touch-workers-reload", "--touch-chain-reload"])
def test_a_touched_file_reloads_and_a_new_worker_leads(
    serve: Serve, tmp_path: Path, option: str, loading: list[str]
) -> None:
    touched = tmp_path / "reload"
    touched.touch()
    server = serve(*loading, option, str(touched))
    workers = server.complete()
    leader = server.leader(among=workers)
    touch(touched)
    workers = server.complete(without=workers)
    server.leader(after=leader.term, among=workers)
    server.until_stopped(leader.term)
    server.check_failover()


@LOADING
@pytest.mark.parametrize("command", ["r", "R", "c", "w", "W"])
def test_each_reload_by_the_fifo_ends_with_a_new_worker_that_leads(
    serve: Serve, command: str, loading: list[str]
) -> None:
    server = serve(*loading, "--master-fifo", "fifo")
    workers = server.complete()
    leader = server.leader(among=workers)
    server.tell(command)
    workers = server.complete(without=workers)
    server.leader(after=leader.term, among=workers)
    server.until_stopped(leader.term)
    server.check_failover()


@pytest.mark.parametrize("command", ["q", "Q"])
def test_an_end_by_the_fifo_asks_the_task_to_stop(serve: Serve, command: str) -> None:
    server = serve("--master-fifo", "fifo")
    server.complete()
    server.leader()
    server.tell(command)
    server.process.wait(30)
    assert server.events()[-1].what == "stop"
    assert not server.candidates()
    server.check_one_at_a_time()


def test_a_server_that_is_suspended_has_its_leader(serve: Serve) -> None:
    server = serve("--master-fifo", "fifo")
    workers = server.complete()
    leader = server.leader()
    server.tell("p")
    server.logs("suspended")
    ticks = len(server.events())
    until(lambda: len(server.events()) > ticks + 2, "ticks of a suspended worker")
    server.kill(leader.pid)
    second = server.leader(after=leader.term, among=workers)
    server.tell("p")
    server.complete(without={leader.pid})
    assert server.leader() == second
    server.check_one_at_a_time()


def test_without_die_on_term_sigterm_reloads_at_once(serve: Serve) -> None:
    app = "from uwsgi_app import application"
    server = serve("--enable-threads", "--master", app=app)
    workers = server.complete()
    leader = server.leader()
    server.kill(server.process.pid, signal.SIGTERM)
    new = server.complete(without=workers)
    server.leader(after=leader.term, among=new)
    server.until_stopped(leader.term)
    server.check_one_at_a_time()


def test_a_server_of_another_master_stands_by_until_the_first_one_ends(
    serve: Serve, tmp_path: Path
) -> None:
    """A rolling deployment: two servers, one lock."""
    old = serve()
    workers = old.complete()
    leader = old.leader()
    app = "from uwsgi_app import application"
    new = serve(
        "--enable-threads", "--master", "--socket", str(tmp_path / "other"), app=app, processes=2
    )
    both = old.stand(5)
    old.kill(old.process.pid, signal.SIGTERM)
    old.process.wait(30)
    # One of the old ones may have begun a term, and ended it, before it was its turn to end.
    new.leader(after=leader.term, among=both - workers)
    new.check_one_at_a_time()
