# uvicorn --app-dir examples --workers 4 asgi_starlette:app

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", flush=True)


index = Route("/", lambda _: PlainTextResponse(f"leads: {current_leadership() is not None}"))
app = Starlette(routes=[index], lifespan=in_one_worker(report))
