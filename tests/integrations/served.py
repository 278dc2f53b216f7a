"""What gunicorn serves in the tests: a task that notes its life, and an app for each protocol."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from leaderlock import Leadership, current_leadership

NOTES = os.path.abspath(os.environ["NOTES"])


def note(event: str, term: int = 0) -> None:
    """Append a line, in one write: the order of lines is the order of events."""
    fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, f"{event} {os.getpid()} {term} {time.monotonic_ns()}\n".encode())
    finally:
        os.close(fd)


def lead(leadership: Leadership) -> None:
    note("start", leadership.term)
    for _ in leadership.every(0.02):
        note("tick", leadership.term)
    note("stop", leadership.term)


def fail(leadership: Leadership) -> None:
    note("start", leadership.term)
    raise ArithmeticError("this task always fails")


class Reporter:
    def __call__(self, leadership: Leadership) -> None:
        lead(leadership)


def ready(_worker: object) -> None:
    """The configuration's own post_worker_init hook."""
    note("ready")


def answer(path: str) -> bytes:
    """What GET answers: the worker's PID; on /hang, the leader goes round and round instead."""
    if path == "/hang" and current_leadership() is not None:
        note("hang")
        while True:
            pass
    return str(os.getpid()).encode()


def wsgi(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(
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
    body = answer(scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
