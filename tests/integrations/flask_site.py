"""A Flask application for the tests: its task notes its life, and needs all of the module."""

from __future__ import annotations

import os

from flask import Flask, current_app

from leaderlock import Leadership
from leaderlock.integrations.flask import Leader
from tests.integrations.served import lead, note

note("load")
app = Flask(__name__)
leader = Leader(app)


@leader.task(name="example", backoff=(0.05, 0.2))
def report(leadership: Leadership) -> None:
    current_app.config["DEFINED_LAST"]
    lead(leadership)


def create_app() -> Flask:
    """The same as an application's factory."""
    made = Flask(__name__)
    made.config["DEFINED_LAST"] = defined_last()
    made.add_url_rule("/", view_func=view)
    leader.init_app(made)
    return made


def view() -> str:
    return str(os.getpid())


def fork() -> str:
    """Fork, as `multiprocessing` does; whether the child stands too."""
    pid = os.fork()
    if pid == 0:
        os._exit(os.getpid() in leader._tasks[0]._claims)
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def defined_last() -> bool:
    return True


app.config["DEFINED_LAST"] = defined_last()
app.add_url_rule("/", view_func=view)
app.add_url_rule("/fork", view_func=fork)
