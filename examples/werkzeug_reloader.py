"""Werkzeug with its reloader, whose parent never leads: python examples/werkzeug_reloader.py."""

import os
from wsgiref.simple_server import demo_app

from werkzeug.serving import is_running_from_reloader, run_simple

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


if is_running_from_reloader():
    Election(name="example").start(report)
run_simple("127.0.0.1", int(os.environ.get("PORT", "8000")), demo_app, use_reloader=True)
