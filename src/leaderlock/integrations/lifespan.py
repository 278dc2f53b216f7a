"""ASGI's lifespan protocol: a server tells an application about its start and end.

This file passes the messages between the server and an application of any kind.
"""

from __future__ import annotations

import contextlib

from leaderlock.election.placement.stderr_log import log_to_stderr
from leaderlock.errors import LeaderLockError
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    Application = Callable[..., Coroutine[Any, Any, None]]
    Lifespan = Callable[..., AbstractAsyncContextManager[None]]


def with_lifespan(
    app: Callable[..., Awaitable[None]],
    lifespan: Lifespan,
    require: Callable[[], object],
) -> Application:
    """Wrap an application: a context manager is entered at its startup and left at its shutdown.

    Args:
        app: the application; it need not know the lifespan protocol.
        lifespan: makes the context manager.
        require: called first, in the event loop; if it raises, the startup fails.
    """
    may_be_missing = True

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal may_be_missing
        if scope["type"] == "lifespan":
            may_be_missing = False
            try:
                require()
            except LeaderLockError as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
            else:
                await _Life(app, lifespan, receive, send).live(scope)
            return
        if may_be_missing:
            may_be_missing = False
            log_to_stderr()
            log().error(
                "the task never runs in this worker: the server has sent no lifespan messages (or an "
                "outer application keeps them to itself): switch them on, or wrap the outer application"
            )
        await app(scope, receive, send)

    return application


class _Life:
    """One lifespan of an application; passes its messages on.

    If the application returns early, because it does not know the protocol or is done with it, this
    class answers the remaining messages, since the server goes on too.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], lifespan: Lifespan, receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._lifespan = lifespan
        self._receive = receive
        self._send = send
        self._received = self._answered = ""

    async def live(self, scope: Message) -> None:
        async with contextlib.AsyncExitStack() as self._stack:
            try:
                await self._app(scope, self._receive_for_app, self._send_for_app)
            except Exception as error:  # any error of the application
                if self._is_over():
                    raise
                self._say_that_it_has_ended(error)
            if not self._is_over():
                await self._go_on()

    def _is_over(self) -> bool:
        return self._answered.endswith(".failed") or self._answered.startswith("lifespan.shutdown")

    async def _receive_for_app(self) -> Message:
        message: Message = await self._receive()
        self._received = message["type"]
        if self._received == "lifespan.shutdown":
            await self._stack.aclose()
        return message

    async def _send_for_app(self, message: Message) -> None:
        kind = message["type"]
        if kind.startswith("lifespan."):
            self._answered = kind
        if kind == "lifespan.startup.complete":
            await self._stack.enter_async_context(self._lifespan())
        await self._send(message)

    def _say_that_it_has_ended(self, error: Exception) -> None:
        if self._received:  # the application seems to know the protocol
            log().warning("the application's lifespan has failed; it is served without", exc_info=error)
        else:
            log().debug("the application has no lifespan: %r", error)

    async def _go_on(self) -> None:
        if not self._received:
            await self._receive_for_app()
        if not self._answered:
            await self._send_for_app({"type": "lifespan.startup.complete"})
        while self._received != "lifespan.shutdown":
            await self._receive_for_app()
        await self._send_for_app({"type": "lifespan.shutdown.complete"})
