"""A uWSGI application, one of whose workers runs a background task.

uwsgi --ini examples/uwsgi.ini
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from leaderlock import Leadership
from leaderlock.integrations.uwsgi import in_one_worker

LOG = os.environ.get("EXAMPLE_LOG", "/dev/stderr")
SECONDS = float(os.environ.get("EXAMPLE_SECONDS", "10"))


def report(leadership: Leadership) -> None:
    """What one worker does, every few seconds; put your own work here."""
    with open(LOG, "ab", buffering=0) as log:

        def say(event: str) -> None:
            log.write(f"{os.getpid()} {leadership.term} {time.monotonic():.6f} {event}\n".encode())

        say("start")
        for _ in leadership.every(SECONDS):
            say("tick")
        say("stop")


# Where the lock lies: without path= it would be named after the task and this file.
in_one_worker(report, path=os.environ.get("EXAMPLE_LOCK"))


def application(
    _environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """Say which worker has answered."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}\n".encode()]
