"""A leader that hangs, in real uWSGI: the kernel kills it, and another worker leads."""

from __future__ import annotations

import pytest

from tests.integrations.uwsgi_server import Serve, build, serve
from tests.processes import until

APPLICATION = """
import time
from leaderlock.integrations.uwsgi import in_one_worker

def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]

def hang():
    while True:
        time.sleep(60)

def hang_in_the_first_term(leadership):
    with open(os.environ["EXAMPLE_LOG"], "a", buffering=1) as log:
        def say(event):
            log.write(f"{os.getpid()} {leadership.term} {time.monotonic():.6f} {event}\\n")
        say("start")
        if leadership.term == 1:
            hang()
        for _ in leadership.every(0.1):
            say("tick")

in_one_worker(hang_in_the_first_term, path=os.environ["EXAMPLE_LOCK"], lease=5)
"""

__all__ = ["build", "serve"]  # fixtures


@pytest.mark.parametrize("mode", [[], ["--lazy-apps"]], ids=["loaded by the master", "lazy-apps"])
def test_a_leader_that_hangs_is_killed_and_another_leads(
    serve: Serve,
    mode: list[str],
) -> None:
    server = serve("--master", "--enable-threads", *mode, app=APPLICATION)
    first = server.leader()
    second = server.leader(after=1)
    assert second.pid != first.pid
    assert second.term == 2
    server.logs("has not beaten for 80% of its lease of 5 s", "in hang")
    until(lambda: f"(pid: {first.pid}) died, killed by signal 9" in server.log, "uWSGI to notice")
    server.complete(without={first.pid})
    server.check_one_at_a_time()
