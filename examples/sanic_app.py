"""Sanic, one of whose workers reports: sanic --workers 4 sanic_app:app, in examples."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from typing import Any

from sanic import Request, Sanic, text
from sanic.response import HTTPResponse

from leaderlock import Leadership, is_leader
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


app = Sanic("example")
standing = in_one_worker(report, name="example")


@app.before_server_start
async def stand(app: Any) -> None:
    app.ctx.stack = AsyncExitStack()
    await app.ctx.stack.enter_async_context(standing())


@app.before_server_stop
async def resign(app: Any) -> None:
    await app.ctx.stack.aclose()


@app.get("/")
async def index(_: Request) -> HTTPResponse:
    return text(f"process {os.getpid()} leads: {is_leader()}")
