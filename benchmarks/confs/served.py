"""What the servers of `requests.py` serve, with a leader among their workers if $LOCK names a file."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.confs.app import app as wsgi
from leaderlock import Leadership

LOCK = os.environ.get("LOCK")
BODY = b"ok\n"


def task(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        pass


async def plain(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


asgi: Any = plain
if LOCK and os.environ["HOOK"] == "asgi":
    from leaderlock.integrations import asgi as of_asgi

    asgi = of_asgi.in_one_worker(task, app=plain, path=LOCK)
if LOCK and os.environ["HOOK"] == "uwsgi":
    from leaderlock.integrations import uwsgi as of_uwsgi

    of_uwsgi.in_one_worker(task, path=LOCK)
application = wsgi
