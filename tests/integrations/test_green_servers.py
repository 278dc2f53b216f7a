"""A scheduler, timers and pools in one worker of servers whose threads are green."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, HERE, Fleet, free_port, get_page
from tests.processes import until

APP = "tests.integrations.green_site:app"
SERVERS: dict[str, list[object]] = {
    "gunicorn, gevent": [BIN / "gunicorn", "-k", "gevent", "-w", "3", "--no-control-socket", "-b"],
    "gunicorn, gevent, preload": [
        *(BIN / "gunicorn", "--preload", "-k", "gevent", "-w", "3", "--no-control-socket", "-b"),
    ],
    "eventlet": [sys.executable, HERE / "eventlet_server.py"],
    "uwsgi, gevent": [
        *(BIN / "uwsgi", "--master", "--processes", "3", "--gevent", "10", "--gevent-monkey-patch"),
        *("--lazy-apps", "--enable-threads", "--http-socket"),
    ],
    "uwsgi, gevent, loaded by the master": [
        *(BIN / "uwsgi", "--master", "--processes", "3", "--gevent", "10", "--gevent-monkey-patch"),
        *("--enable-threads", "--http-socket"),
    ],
}


def serve(directory: Path, kind: str, port: int) -> Fleet:
    address = f"127.0.0.1:{port}"
    arguments: dict[str, list[object]] = {
        "gunicorn": [address, APP],
        "eventlet": [port],
        "uwsgi": [address, "--module", APP],
    }
    return Fleet(directory, [*SERVERS[kind], *arguments[kind.split(",", maxsplit=1)[0]]])


RARER = ("gunicorn, gevent, preload", "uwsgi, gevent, loaded by the master")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] if kind in RARER else []) for kind in SERVERS],
)
def test_a_scheduler_ticks_in_one_worker_and_moves_when_that_is_killed(
    tmp_path: Path, kind: str
) -> None:
    port = free_port()
    with serve(tmp_path, kind, port) as fleet:
        stood = fleet.until_standing(3)
        first = fleet.leader()
        assert int(get_page(port)) in stood
        until(
            lambda: (
                {"green", "timer", "pool"}
                <= {note.event for note in fleet.notes() if note.pid == first.pid}
            ),
            "what else the task starts",
        )
        os.kill(first.pid, signal.SIGKILL)
        second = fleet.leader(not_among=[first.pid])
        assert int(get_page(port)) != first.pid
        assert second.term > first.term
        fleet.check_one_leader_at_any_time()
