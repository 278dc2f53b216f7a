"""`on_elected` and `on_resigned` of every hook: one runs before the task, one after it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integrations.fleet import BIN, Fleet, free_port, get_page
from tests.integrations.uwsgi_server import ACCEPTS
from tests.processes import until

HOOK = """
from tests.integrations.served import *
from leaderlock.integrations.{room} import {hook}
elected = lambda leadership: note("elected", leadership.term)
resigned = lambda leadership: note("resigned", leadership.term)
{more}
"""
CALLBACKS = 'name="example", on_elected=elected, on_resigned=resigned'
SETTINGS = """
SECRET_KEY, ALLOWED_HOSTS, ROOT_URLCONF = "of the tests", ["*"], "tests.integrations.django_site"
INSTALLED_APPS = ["leaderlock.integrations.django"]
LEADERLOCK = {"my_site.lead": {
    "name": "example", "on_elected": "my_site.elected", "on_resigned": resigned}}
"""
FLASK = f"""
from flask import Flask
app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: "")
Leader(app).task({CALLBACKS})(lead)
"""
CELERY = f"""
from celery import Celery
app = Celery("tests", broker="memory://")
in_one_worker(lead, {CALLBACKS})
"""
GUNICORN = f"""
control_socket_disable = True
post_fork = in_one_worker(lead, {CALLBACKS})
"""
MODULES = {
    "gunicorn": ("in_one_worker", GUNICORN),
    "uwsgi": ("in_one_worker", f"in_one_worker(lead, {CALLBACKS})\napplication = wsgi"),
    "uwsgi, mule": ("in_one_mule", f"in_one_mule(lead, {CALLBACKS})\napplication = wsgi"),
    "asgi": ("in_one_worker", f"app = in_one_worker(lead, app=asgi, {CALLBACKS})"),
    "flask": ("Leader", FLASK),
    "celery": ("in_one_worker", CELERY),
    "django": ("__doc__", SETTINGS),
}


def _uwsgi(port: int) -> list[object]:
    return [
        *("uwsgi", "--http-socket", f"127.0.0.1:{port}", "--master", "--die-on-term"),
        *("--enable-threads", "--module", "my_site", "--hook-accepting", f"print:{ACCEPTS}"),
    ]


COMMANDS: dict[str, Callable[[int], list[object]]] = {
    "gunicorn": lambda port: ["gunicorn", "-c", "my_site.py", "-b", f"127.0.0.1:{port}", "served:wsgi"],
    "uwsgi": _uwsgi,
    "uwsgi, mule": lambda port: [*_uwsgi(port), "--mules", "1"],
    "asgi": lambda port: ["uvicorn", "--port", port, "my_site:app"],
    "flask": lambda port: [
        *("gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}", "my_site:app")
    ],
    "celery": lambda _: ["celery", "-A", "my_site", "worker", "-c", 1, "--loglevel", "INFO"],
    "django": lambda port: [
        *("gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}"),
        "django.core.wsgi:get_wsgi_application()",
    ],
}
IS_READY = {"uwsgi": ACCEPTS, "uwsgi, mule": ACCEPTS, "celery": " ready."}
"""What a server logs then. Others answer a request; a worker of uWSGI that is still busy with one ends
without notice."""


@pytest.mark.parametrize("room", MODULES)
def test_callbacks_are_called_around_the_task(tmp_path: Path, room: str) -> None:
    hook, more = MODULES[room]
    module = room.partition(",")[0]
    (tmp_path / "my_site.py").write_text(HOOK.format(room=module, hook=hook, more=more))
    port = free_port()
    program, *arguments = COMMANDS[room](port)
    command = [sys.executable, BIN / str(program), *arguments]
    fleet = Fleet(tmp_path, command, DJANGO_SETTINGS_MODULE="my_site")
    fleet.environment["PYTHONPATH"] += f":{tmp_path}"
    with fleet:
        fleet.leader()
        if room in IS_READY:
            until(lambda: IS_READY[room] in fleet.output(), "the worker to be ready")
        else:
            get_page(port)
        fleet.process().send_signal(signal.SIGTERM)
        fleet.process().wait()
        events = [note.event for note in fleet.notes() if note.event != "tick"]
        assert events == ["elected", "start", "stop", "resigned"]
