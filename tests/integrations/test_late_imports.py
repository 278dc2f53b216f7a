"""A worker of a server imports nothing for its leader once the leader may have dropped its rights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import late_imports
from tests.integrations.fleet import BIN, Fleet, free_port
from tests.integrations.server import Server
from tests.integrations.uwsgi_server import ACCEPTS
from tests.processes import until

LOAD = """
import importlib.util
spec = importlib.util.spec_from_file_location("late_imports", {module!r})
late_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late_imports)
"""
# `ready` notes the worker; from then on nothing may be imported for leaderlock.
HOOK = """
post_fork = in_one_worker(lead, path={lock!r}, backoff=(0.05, 0.2))
def post_worker_init(worker):
    late_imports.forbid({report!r})
    ready(worker)
"""


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent", "uvicorn_worker.UvicornWorker"])
def test_a_worker_of_gunicorn_imports_nothing_after_the_fork(tmp_path: Path, kind: str) -> None:
    lock, report = tmp_path / "leader.lock", tmp_path / "report"
    hook = LOAD.format(module=late_imports.__file__) + HOOK.format(lock=str(lock), report=str(report))
    with Server(tmp_path, kind, hook) as server:
        first = server.leader()
        os.kill(first.pid, signal.SIGKILL)
        server.leader(not_among=[first.pid])
        os.kill(server.arbiter, signal.SIGTERM)
        until(lambda: not server.processes(), "the server to end")
    assert late_imports.late(str(report)) == []


# From the end of the module that holds the application, nothing may be imported for leaderlock.
SITE = """
from tests.integrations.served import *
from leaderlock import is_leader, current_leadership
from leaderlock.integrations.{room} import {hook}
elected = lambda leadership: note("elected", leadership.term)
resigned = lambda leadership: note("resigned", leadership.term)
def fails_once(leadership):
    if leadership.term == 1:
        raise ArithmeticError("a task that fails: its traceback is logged")
    assert is_leader() and current_leadership() is leadership
    lead(leadership)
{more}
late_imports.forbid({report!r})
"""
SETTINGS = 'name="example", backoff=(0.05, 0.2), on_elected=elected, on_resigned=resigned, lease=60'
UWSGI = f"in_one_worker(fails_once, {SETTINGS})\napplication = wsgi"
FLASK = f"""
from flask import Flask
app = Flask(__name__)
Leader(app).task({SETTINGS})(fails_once)
"""
CELERY = f"""
from celery import Celery
app = Celery("tests", broker="memory://")
in_one_worker(fails_once, {SETTINGS})
"""
MODULES = {
    "uwsgi": ("in_one_worker", UWSGI),
    "asgi": ("in_one_worker", f"app = in_one_worker(fails_once, app=asgi, {SETTINGS})"),
    "celery": ("in_one_worker", CELERY),
    "flask": ("Leader", FLASK),
}
UWSGI_COMMAND = [
    *("uwsgi", "--http-socket", ":0", "--master", "--die-on-term", "--enable-threads", "-p", "2"),
    *("--module", "my_site", "--hook-accepting", f"print:{ACCEPTS}"),
]
FLASK_COMMAND = ["gunicorn", "--no-control-socket", "-w", "2", "-b", "127.0.0.1:0", "my_site:app"]
COMMANDS = {
    "uwsgi": ("uwsgi", UWSGI_COMMAND),
    "uwsgi, lazy-apps": ("uwsgi", [*UWSGI_COMMAND, "--lazy-apps"]),
    "uvicorn": ("asgi", ["uvicorn", "--workers", "2", "--port", "PORT", "my_site:app"]),
    "celery": ("celery", ["celery", "-A", "my_site", "worker", "-c", "2"]),
    "celery, threads": ("celery", ["celery", "-A", "my_site", "worker", "-P", "threads"]),
    "flask": ("flask", FLASK_COMMAND),
    "flask, preload": ("flask", [*FLASK_COMMAND, "--preload"]),
}


@pytest.mark.parametrize(
    "server",
    [
        "uwsgi",
        "uvicorn",
        "celery",
        "flask",
        pytest.param("uwsgi, lazy-apps", marks=pytest.mark.slow),
        pytest.param("celery, threads", marks=pytest.mark.slow),
        pytest.param("flask, preload", marks=pytest.mark.slow),
    ],
)
def test_a_worker_imports_nothing_after_the_application_was_loaded(tmp_path: Path, server: str) -> None:
    room, (program, *arguments) = COMMANDS[server]
    hook, more = MODULES[room]
    report = tmp_path / "report"
    source = LOAD + SITE
    (tmp_path / "my_site.py").write_text(
        source.format(module=late_imports.__file__, room=room, hook=hook, more=more, report=str(report))
    )
    words = [str(free_port()) if word == "PORT" else word for word in arguments]
    command = [sys.executable, BIN / program, *words]
    workers = 1 if "threads" in server else 2
    fleet = Fleet(tmp_path, command)
    fleet.environment["PYTHONPATH"] += f":{tmp_path}"
    with fleet:
        first = fleet.leader()
        fleet.until_standing(workers)
        assert first.term > 1
        # A killed process of Celery's pool may hold the lock of the pool's queue: the others then
        # never end. The failure of the first term lets another process lead there, too.
        if workers > 1 and room != "celery":
            os.kill(first.pid, signal.SIGKILL)
            fleet.leader(not_among=[first.pid])
            fleet.until_standing(workers, without=[first.pid])
        fleet.process().send_signal(signal.SIGTERM)
        fleet.process().wait(60)
        until(lambda: not fleet.processes(), "the server to end")
        assert "a task that fails" in fleet.output()
    assert late_imports.late(str(report)) == []


SEED = """
import random, sys
{first}
sys.meta_path.clear()  # no import finds a file any more
random.seed(b"as each worker of gunicorn does, without its rights")
"""


@pytest.mark.parametrize("first", ["", "import hashlib"])
def test_gunicorns_seed_needs_hashlib_from_python_3_13_on(first: str) -> None:
    # Without leaderlock: before, `random` imported what it hashes with when it was imported itself.
    run = subprocess.run(
        [sys.executable, "-c", SEED.format(first=first)], capture_output=True, text=True, timeout=60
    )
    fails = sys.version_info >= (3, 13) and not first
    assert run.returncode == (1 if fails else 0), run.stderr
    assert ("No module named 'hashlib'" in run.stderr) == fails
