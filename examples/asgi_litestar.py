# uvicorn --app-dir examples --workers 4 asgi_litestar:app

from litestar import Litestar, get

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", flush=True)


@get("/")
async def index() -> str:
    return f"leads: {current_leadership() is not None}"


app = Litestar([index], lifespan=[in_one_worker(report)])
