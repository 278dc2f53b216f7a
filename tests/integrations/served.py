"""What gunicorn serves in the tests: a task that notes its life, and an app for each protocol."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
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


def stop() -> None:
    while True:  # another thread may take the signal, and this one run on for a moment
        os.kill(os.getpid(), signal.SIGSTOP)


def hold_the_gil() -> None:
    ctypes.PyDLL(None).sleep(600)


def deadlock() -> None:
    first, second = threading.Lock(), threading.Lock()
    both_hold_one = threading.Barrier(2)

    def take(mine: threading.Lock, other: threading.Lock) -> None:
        with mine:
            both_hold_one.wait()
            other.acquire()

    threading.Thread(target=take, args=(second, first), daemon=True).start()
    take(first, second)


def loop_without_beating() -> None:
    while True:
        time.sleep(0.01)


class HangsInItsFirstTerm:
    """Leads for some ticks, and then does whatever it was given; later terms lead well."""

    def __init__(self, hang: Callable[[], None]) -> None:
        self.hang = hang

    def __call__(self, leadership: Leadership) -> None:
        note("start", leadership.term)
        for tick in leadership.every(0.02):
            note("tick", leadership.term)
            if leadership.term == 1 and tick > 5:
                note("hang", leadership.term)
                self.hang()
        note("stop", leadership.term)


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
    if path == "/slow":
        note("slow")
        while not is_over():
            time.sleep(0.01)
    return str(os.getpid()).encode()


def is_over() -> bool:
    """Whether slow requests end."""
    return os.path.exists(f"{NOTES}.over")


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
    if scope["path"] == "/slow":
        note("slow")
        while not is_over():
            await asyncio.sleep(0.01)
    body = answer("/" if scope["path"] == "/slow" else scope["path"])
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
