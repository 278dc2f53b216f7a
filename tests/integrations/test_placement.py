"""A candidate that is started as the application is imported begins where requests are served."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.fleet import BIN, Fleet, edit, free_port, get_page
from tests.integrations.test_celery import until_ready, worker
from tests.integrations.uwsgi_server import Build, build
from tests.processes import flocks_of, until

__all__ = ["build"]  # a fixture

GUNICORN = [BIN / "gunicorn", "--no-control-socket", "-w", "3"]
FLASK = """
from flask import Flask
from tests.integrations.placed_site import state
app = Flask(__name__)
app.add_url_rule("/", view_func=state)
"""
ASGI = """
import os
from tests.integrations.placed_site import state
from tests.integrations.served import asgi as app
"""
CELERY = """
from celery import Celery
from tests.integrations import placed_site
app = Celery("tests", broker="memory://")
"""


def slowly(value: object) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def site(directory: Path, text: str = "") -> Path:
    """A module for a server to load, and to notice when it is edited."""
    own = directory / "my_site.py"
    own.write_text(text)
    return own


def fleet_of(directory: Path, command: list[object], **environment: str) -> Fleet:
    fleet = Fleet(directory, command, **environment)
    fleet.environment["PYTHONPATH"] += f":{directory}"
    return fleet


def check_states(port: int, fleet: Fleet, workers: int) -> None:
    """Every worker answers, and says of its candidate what the kernel says."""
    seen: dict[int, str] = {}

    def ask() -> bool:
        pid, _, said = get_page(port).partition(" ")
        seen[int(pid)] = said
        return len(seen) == workers

    until(ask, f"{workers} workers to answer, not {seen}")
    [leader] = fleet.leaders()
    assert seen.pop(leader) == "leading True True"
    assert set(seen.values()) <= {"standby False False"}


def says_it_is_standby(fleet: Fleet) -> bool:
    return {note.event for note in fleet.notes() if note.event.startswith("loaded")} == {
        "loaded:standby"
    }


@pytest.mark.parametrize("worker_class", ["sync", slowly("gthread"), "gevent"])
def test_a_preloading_arbiter_never_stands_and_each_worker_does(
    tmp_path: Path, worker_class: str
) -> None:
    port = free_port()
    command = [*GUNICORN, "-b", f"127.0.0.1:{port}", "--preload", "-k", worker_class]
    with fleet_of(tmp_path, [*command, "tests.integrations.placed_site"]) as fleet:
        fleet.check_failover(3, replaced=True)
        assert fleet.until_standing(3) == fleet.workers()
        check_states(port, fleet, 3)
        assert says_it_is_standby(fleet)
        leader = fleet.leader()
        os.kill(leader.pid, signal.SIGTERM)
        fleet.leader(not_among=[leader.pid])
        assert "stop" in {note.event for note in fleet.notes() if note.pid == leader.pid}


@pytest.mark.slow
def test_workers_after_a_reload_of_the_arbiter_stand(tmp_path: Path) -> None:
    command = [*GUNICORN, "-b", "127.0.0.1:0", "--preload", "tests.integrations.placed_site"]
    with fleet_of(tmp_path, command) as fleet:
        old = fleet.until_standing(3)
        fleet.process().send_signal(signal.SIGHUP)
        until(lambda: len(fleet.candidates() - old) == 3 and not fleet.candidates() & old, "new ones")
        fleet.leader(not_among=old)
        fleet.check_one_leader_at_any_time()


APPLICATION = """
from leaderlock import Election
from tests.integrations.served import lead, wsgi as application
election = Election(name="example")
candidate = election.start(lead)
"""
CONFIGURATION = """
from my_site import candidate, election, lead
from leaderlock.integrations.gunicorn import in_one_worker
control_socket_disable = preload_app = True
workers = 2
"""
HOOKS = {
    "in_one_worker": "post_fork = in_one_worker(lead, name='example')",
    "post_fork": "def post_fork(server, worker): assert election.start(lead) is candidate",
    "post_worker_init": "def post_worker_init(worker): assert election.start(lead) is candidate",
}


@pytest.mark.parametrize("hook", ["in_one_worker", slowly("post_fork"), slowly("post_worker_init")])
def test_a_hook_and_an_import_that_start_the_same_task_make_one_candidate(
    tmp_path: Path, hook: str
) -> None:
    site(tmp_path, APPLICATION)  # which the configuration imports, before there is an arbiter
    (tmp_path / "conf.py").write_text(CONFIGURATION + HOOKS[hook])
    port = free_port()
    command = [BIN / "gunicorn", "-b", f"127.0.0.1:{port}", "-c", tmp_path / "conf.py", "my_site"]
    with fleet_of(tmp_path, [*command]) as fleet:
        assert fleet.until_standing(2) == fleet.workers()
        get_page(port)  # a worker that serves has called all hooks
        assert len(flocks_of(fleet.lock)) == 2


def uwsgi(directory: Path, build: Build, port: int, *options: object) -> Fleet:
    address = f"127.0.0.1:{port}"
    command = [build.program, *build.options, "--http-socket", address, "--master", "-p", "3"]
    fleet = fleet_of(directory, [*command, *options])
    fleet.environment["PYTHONPATH"] += f":{build.environment.get('PYTHONPATH', '')}"
    return fleet


@pytest.mark.parametrize("options", [[], slowly(["--lazy-apps"])], ids=["master", "lazy-apps"])
def test_uwsgis_workers_stand_and_answer_and_its_master_does_not(
    tmp_path: Path, build: Build, options: list[str]
) -> None:
    port = free_port()
    module = ["--enable-threads", "--module", "tests.integrations.placed_site"]
    with uwsgi(tmp_path, build, port, *module, *options) as fleet:
        fleet.check_failover(3, replaced=True)
        assert fleet.until_standing(3) == fleet.workers()
        check_states(port, fleet, 3)


def test_uwsgi_without_threads_says_what_is_missing(tmp_path: Path, build: Build) -> None:
    # Since 2.0.27 threads cannot be had switched off, so it has to be pretended.
    pretends = "import uwsgi\nuwsgi.has_threads = 0\n" if build.version >= (2, 0, 27) else ""
    site(tmp_path, pretends + "from tests.integrations.placed_site import application")
    fleet = uwsgi(tmp_path, build, free_port(), "--need-app", "--module", "my_site")
    with fleet:
        assert fleet.process().wait(60) != 0
        assert "start it with --enable-threads (enable-threads = true)" in fleet.output()


def check_reloads(fleet: Fleet, own: Path, port: int, watches: str) -> None:
    for turn in (1, 2):
        [child] = fleet.until_standing(1)
        assert child != fleet.arbiter
        assert get_page(port) == f"{child} leading True True"
        until(lambda turn=turn: fleet.output().count(watches) >= turn, "the reloader's first look")  # type: ignore[misc]
        edit(own)
        fleet.leader(not_among=[child])
    assert fleet.arbiter not in {note.pid for note in fleet.terms()}
    fleet.check_one_leader_at_any_time()


def test_the_parent_of_flasks_reloader_never_stands(tmp_path: Path) -> None:
    own, port = site(tmp_path, FLASK), free_port()
    command = [BIN / "flask", "--app", "my_site", "run", "--debug", "--port", port]
    with fleet_of(tmp_path, [*command]) as fleet:
        check_reloads(fleet, own, port, "Debugger PIN")


def test_the_parent_of_djangos_reloader_never_stands(tmp_path: Path) -> None:
    own, port = site(tmp_path, "from tests.integrations.placed_django import *\n" + LOGS), free_port()
    command = [sys.executable, "-m", "django", "runserver", port]
    with fleet_of(tmp_path, [*command], DJANGO_SETTINGS_MODULE="my_site") as fleet:
        check_reloads(fleet, own, port, f"File {own} first seen")


LOGS = """
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"all": {"class": "logging.StreamHandler"}},
    "loggers": {"django.utils.autoreload": {"handlers": ["all"], "level": "DEBUG"}},
}
"""


def test_celerys_main_process_does_not_stand_beside_its_pool(tmp_path: Path) -> None:
    site(tmp_path, CELERY)
    with fleet_of(tmp_path, worker("my_site", "prefork", 2)) as fleet:
        until_ready(fleet)
        assert fleet.until_standing(2) == fleet.workers()
        leader = fleet.leader()
        fleet.process().send_signal(signal.SIGTERM)
        assert fleet.process().wait(60) == 0
        assert [note.event for note in fleet.notes() if note.pid == leader.pid][-1] == "stop"


SANIC = """
from sanic import Sanic, text
from tests.integrations.placed_site import note, state
app = Sanic("tests")
app.add_route(lambda request: text(state()), "/")
"""


@pytest.mark.slow
def test_sanics_main_process_does_not_stand_beside_its_workers(tmp_path: Path) -> None:
    site(tmp_path, SANIC)
    port = free_port()
    command = [BIN / "sanic", "--workers", 2, "--port", port, "my_site:app"]
    with fleet_of(tmp_path, [*command]) as fleet:
        stand = fleet.until_standing(2)
        assert fleet.arbiter not in stand
        check_states(port, fleet, 2)


LEADER = """
from flask import Flask
from leaderlock.integrations.flask import Leader
from tests.integrations.served import lead
app = Flask(__name__)
leader = Leader(app)
leader.task(name="example")(lead)
leader.start()
"""


@pytest.mark.slow
def test_an_extension_that_is_told_to_start_in_the_arbiter_stands_in_the_workers(
    tmp_path: Path,
) -> None:
    site(tmp_path, LEADER)
    command = [*GUNICORN, "-b", "127.0.0.1:0", "--preload", "my_site:app"]
    with fleet_of(tmp_path, [*command]) as fleet:
        assert fleet.until_standing(3) == fleet.workers()


@pytest.mark.slow
def test_a_celery_worker_without_a_pool_of_processes_stands_itself(tmp_path: Path) -> None:
    site(tmp_path, CELERY)
    with fleet_of(tmp_path, worker("my_site", "threads", 2)) as fleet:
        assert fleet.until_standing(1) == {fleet.arbiter}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["uvicorn", "--workers", "2", "--port"],
        ["hypercorn", "--workers", "2", "--reload", "-b"],
        ["granian", "--interface", "asgi", "--workers", "2", "--port"],
    ],
    ids=lambda command: command[0],
)
def test_each_worker_of_an_asgi_server_stands_and_its_parent_does_not(
    tmp_path: Path, command: list[str]
) -> None:
    site(tmp_path, ASGI)
    port = free_port()
    address = f"127.0.0.1:{port}" if command[-1] == "-b" else port
    with fleet_of(tmp_path, [BIN / command[0], *command[1:], address, "my_site:app"]) as fleet:
        stand = fleet.until_standing(2)
        assert fleet.arbiter not in stand
        assert int(get_page(port)) in stand


@pytest.mark.slow
def test_no_worker_of_uwsgi_hangs_in_twenty_starts(tmp_path: Path, build: Build) -> None:
    for turn in range(20):
        directory = tmp_path / str(turn)
        directory.mkdir()
        test_uwsgis_workers_stand_and_answer_and_its_master_does_not(directory, build, [])
