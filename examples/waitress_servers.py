"""Three processes of Waitress, one of which reports: python examples/waitress_servers.py."""

import os
import socket
from wsgiref.simple_server import demo_app

import waitress

from leaderlock import Election, Leadership


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000"))))
_ = os.fork() and os.fork()  # two more processes; the first of them forks nobody
Election(name="example").start(report)
waitress.serve(demo_app, sockets=[listener])
