"""What ASGI servers serve in the tests: tasks that note their lives, and applications of each kind.

The environment says which task, and how: TASK, LOCK, LEASE.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import time
from typing import Any

import trio

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker
from tests.integrations.served import fail, is_over, lead, note

__all__ = ["lead"]  # a task, too

of_startup: contextvars.ContextVar[str] = contextvars.ContextVar("of_startup", default="")


async def lead_in_loop(leadership: Leadership) -> None:
    assert current_leadership() is leadership
    note("start", leadership.term)
    try:
        async for _ in leadership.every(0.02):
            note("tick", leadership.term)
    finally:
        note("stop", leadership.term)


async def stop_slowly(leadership: Leadership) -> None:
    note("start", leadership.term)
    try:
        while True:
            note("tick", leadership.term)
            await asyncio.sleep(0.02)
    finally:
        await asyncio.sleep(0.5)
        note("stop", leadership.term)


async def fail_in_loop(leadership: Leadership) -> None:
    fail(leadership)


async def block_the_loop(leadership: Leadership) -> None:
    if leadership.term > 1:
        await lead_in_loop(leadership)
        return
    note("start", leadership.term)
    note("hang", leadership.term)
    time.sleep(600)


async def merely_wait(leadership: Leadership) -> None:
    note("start", leadership.term)
    await asyncio.Event().wait()


async def look_around(leadership: Leadership) -> None:
    note(f"sees:{of_startup.get()}", leadership.term)
    await lead_in_loop(leadership)


async def note_and_return(leadership: Leadership) -> None:
    note("start", leadership.term)


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """It knows HTTP and nothing else."""
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        note("slow")
        while not is_over():
            await asyncio.sleep(0.01)
    body = str(os.getpid()).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def returns_at_once(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await bare(scope, receive, send)


async def raises_in_startup(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise ArithmeticError("this startup always fails")
    await bare(scope, receive, send)


async def ends_after_startup(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await bare(scope, receive, send)


async def refuses_to_start(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        return
    await bare(scope, receive, send)


async def full(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Lifespan with a state, HTTP that shows it, a WebSocket that echoes."""
    if scope["type"] == "lifespan":
        await receive()
        note("opened")
        of_startup.set("the-startup's")
        scope["state"]["opened-by"] = os.getpid()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        note("closed")
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        await send({"type": "websocket.send", "text": message["text"]})
        await receive()  # the client closes
    else:
        assert scope["state"]["opened-by"] == os.getpid()
        await bare(scope, receive, send)


with_another_task = in_one_worker(merely_wait, app=full, path=f"{os.environ['LOCK']}.other")


def wrapped(app: Any) -> Any:
    return in_one_worker(
        globals()[os.environ["TASK"]],
        app=app,
        path=os.environ["LOCK"],
        backoff=(0.05, 0.2),
        lease=float(os.environ["LEASE"]) if "LEASE" in os.environ else None,
    )


served = wrapped(globals()[os.environ.get("APP", "full")])


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    async def send_and_note(message: dict[str, Any]) -> None:
        await send(message)
        if message["type"] == "lifespan.startup.complete":
            note_when_the_loop_runs_on()

    await served(scope, receive, send_and_note if scope["type"] == "lifespan" else send)


def note_when_the_loop_runs_on() -> None:
    """Granian's runs on when it is ready for signals; one that comes before may be lost."""
    if trio.lowlevel.in_trio_run():
        note("ready")
    else:
        asyncio.get_running_loop().call_later(0.05, note, "ready")
