"""The status page for ASGI servers, on asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  (asyncio's own executor imports it late)
import os

from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.web.feed import HEARTBEAT, LONGEST, TooManyStreamsError
from leaderlock.web.site import HEADERS, STREAMS, Request, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from leaderlock.web.feed import Feed
    from leaderlock.web.site import Paths

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]


@names_near_keyword
def asgi(
    paths: Paths = None,
    health: str | os.PathLike[str] | None = None,
    *,
    hosts: Iterable[str] | None = None,
    streams: int = STREAMS,
) -> Application:
    """The status page as an ASGI application; mount it at any path of any server.

    The files are read in the event loop's threads, so that reading never blocks the loop.

    Args:
        paths: the lock files, and the URLs of elections in engines; None means every lock on the
            machine that this process can see.
        health: the file that ``leaderlock.health.sinks.file`` writes.
        hosts: the host names that are answered, without ports. None means any name; but if the server
            listens on the loopback interface, only the names of that interface.
        streams: the maximum number of open event streams in a process.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: there is no engine for a URL, or its client is not installed.
    """
    site = Site(paths, health, hosts, streams)

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await _answer(site, scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # the client gets a 403

    return application


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _answer(site: Site, scope: Message, receive: Receive, send: Send) -> None:
    response = await asyncio.get_running_loop().run_in_executor(None, site.respond, _request(scope))
    wants_body = scope["method"] != "HEAD"
    if not (response.is_stream and wants_body):
        await _start(send, response.status, response.headers)
        await send({"type": "http.response.body", "body": response.body if wants_body else b""})
        return
    loop, news = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(news.set)

    try:
        site.feed.join(wake)
    except TooManyStreamsError as error:
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "10"), *HEADERS]
        await _start(send, 503, headers)
        await send({"type": "http.response.body", "body": f"{error}\n".encode()})
        return
    try:
        await _start(send, response.status, response.headers)
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        await _stream(site.feed, news, receive, send)
    finally:
        site.feed.leave(wake)


def _request(scope: Message) -> Request:
    prefix, path = scope.get("root_path", "").rstrip("/"), scope["path"]
    # By the specification the path begins with the prefix; older servers leave the prefix out.
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        path = path[len(prefix) :]
    host = next((value for name, value in scope["headers"] if name == b"host"), b"")
    server = scope.get("server") or ("", None)
    name = server[0] if server[1] is not None else ""  # without a port, the name is a socket's path
    return Request(
        scope["method"], path or ("" if prefix else "/"), prefix, host.decode("latin-1"), name
    )


async def _start(send: Send, status: int, headers: list[tuple[str, str]]) -> None:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _stream(feed: Feed, news: asyncio.Event, receive: Receive, send: Send) -> None:
    """Send the events until the client goes, or `LONGEST` has passed."""
    loop = asyncio.get_running_loop()
    number, until = 0, loop.time() + LONGEST
    gone = asyncio.ensure_future(_gone(receive))
    try:
        while not gone.done() and (now := loop.time()) < until:
            number, message = feed.after(number)
            if message:
                await send({"type": "http.response.body", "body": message, "more_body": True})
                continue
            woken = asyncio.ensure_future(news.wait())
            try:
                await asyncio.wait(
                    (gone, woken),
                    timeout=min(HEARTBEAT, until - now),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                woken.cancel()
            if news.is_set():
                news.clear()
            elif not gone.done() and loop.time() < until:
                beat = b": still here\n\n"
                await send({"type": "http.response.body", "body": beat, "more_body": True})
        if not gone.done():
            await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
