# uvicorn --app-dir examples --workers 4 asgi_fastapi:app

from __future__ import annotations

from fastapi import FastAPI

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", flush=True)


app = FastAPI(lifespan=in_one_worker(report))
app.get("/")(lambda: f"leads: {current_leadership() is not None}")
