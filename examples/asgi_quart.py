# hypercorn --workers 4 examples/asgi_quart.py:app
from quart import Quart

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker

app = Quart(__name__)


async def report(leadership: Leadership) -> None:
    async for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", flush=True)


@app.get("/")
async def index() -> str:
    return f"leads: {current_leadership() is not None}"


app.asgi_app = in_one_worker(report, app=app.asgi_app)  # type: ignore[method-assign]
