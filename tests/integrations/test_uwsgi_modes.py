"""Real uWSGI in its modes: one leader, failover, reload and end are as they are in the plain one."""

from __future__ import annotations

import signal

import pytest

from tests.integrations.uwsgi_server import Serve, build, serve

pytestmark = pytest.mark.slow

__all__ = ["build", "serve"]  # fixtures

MODES = {
    "threads": ["--threads", "2"],
    "threads, lazy-apps": ["--threads", "2", "--lazy-apps"],
    "thunder-lock": ["--thunder-lock"],
    "thunder-lock, threads": ["--thunder-lock", "--threads", "2"],
    "gevent": ["--gevent", "10"],
    "gevent, lazy-apps": ["--gevent", "10", "--lazy-apps"],
    "gevent, patched": ["--gevent", "10", "--gevent-monkey-patch"],
    "gevent, lazy-apps, patched": ["--gevent", "10", "--lazy-apps", "--gevent-monkey-patch"],
    "fork hooks": ["--py-call-uwsgi-fork-hooks"],
    "harakiri, max-requests": ["--harakiri", "60", "--max-requests", "1000"],
}
in_each_of_them = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


@in_each_of_them
def test_one_worker_leads_through_kills_and_a_reload(serve: Serve, mode: list[str]) -> None:
    server = serve(*mode)
    term = 0
    for _ in range(2):
        workers = server.complete()
        leader = server.leader(after=term, among=workers)
        term = leader.term
        server.kill(leader.pid)
        server.complete(without={leader.pid})
    workers = server.complete()
    leader = server.leader(after=term)
    assert server.get() in workers
    server.kill(server.process.pid, signal.SIGHUP)
    new = server.complete(without=workers)
    server.leader(after=leader.term, among=new)
    server.until_stopped(leader.term)
    server.check_one_at_a_time()


@in_each_of_them
def test_the_task_is_asked_to_stop_when_the_server_ends(serve: Serve, mode: list[str]) -> None:
    server = serve(*mode, processes=1)
    server.complete()
    server.leader()
    server.kill(server.process.pid, signal.SIGTERM)
    server.process.wait(30)
    assert server.events()[-1].what == "stop"
    assert not server.candidates()
    server.check_one_at_a_time()


HANGS = """
import time
from uwsgi_app import application as answer

def application(environ, start_response):
    if environ["PATH_INFO"] == "/hang":
        with open("hangs", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    return answer(environ, start_response)
"""
