"""aiohttp, one of whose workers reports.

gunicorn --chdir examples -k aiohttp.GunicornWebWorker -w 4 aiohttp_app:app
"""

from __future__ import annotations

import os

from aiohttp import web

from leaderlock import Leadership, is_leader
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)


async def index(_: web.Request) -> web.Response:
    return web.Response(text=f"process {os.getpid()} leads: {is_leader()}")


app = web.Application()
app.router.add_get("/", index)
app.cleanup_ctx.append(in_one_worker(report, name="example"))
