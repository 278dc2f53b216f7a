# granian --interface asgi --workers 4 examples.asgi_bare:app

from typing import Any

from leaderlock import Leadership, current_leadership
from leaderlock.integrations.asgi import in_one_worker


async def report(leadership: Leadership) -> None:
    async for tick in leadership.every(10):
        print(f"term {leadership.term}: all is well, for {tick * 10} s", flush=True)


async def hello(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = f"leads: {current_leadership() is not None}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


app = in_one_worker(report, app=hello)
