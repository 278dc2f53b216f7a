"""A web application whose scheduler runs in one worker: the README's recipe, with notes of its life."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from leaderlock import current_leadership, only_once
from tests.integrations.served import note

scheduler = BackgroundScheduler()


def job() -> None:
    leadership = current_leadership()
    if leadership is not None:  # the last job of a term may run when that is over
        note("tick", leadership.term)


@only_once(name="example", backoff=(0.05, 0.2))
def start_scheduler() -> None:
    leadership = current_leadership()
    assert leadership is not None
    note("start", leadership.term)
    if threading.get_native_id() == os.getpid():  # the hub's thread
        note("green", leadership.term)
    threading.Timer(0.01, note, ["timer", leadership.term]).start()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(note, "pool", leadership.term).result()
    scheduler.add_job(job, "interval", seconds=0.05)
    scheduler.start()


start_scheduler()


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


application = app
