"""ASGI: a task in one of a server's workers, and in another one as soon as that one is gone.

    # in the module that holds the application
    from leaderlock.integrations.asgi import in_one_worker
    app = FastAPI(lifespan=in_one_worker(task))      # or Starlette, or Litestar(lifespan=[...])
    app = in_one_worker(task, app=app)               # any application

ASGI knows of no fork: a worker learns that it begins and ends by the messages of the lifespan protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import sys
from typing import Any, overload

from leaderlock.at_exit import EXIT_GRACE, candidates
from leaderlock.candidate import Candidate
from leaderlock.election import Election, require_task
from leaderlock.errors import Unsupported
from leaderlock.in_loop import in_loop, running_loop
from leaderlock.integrations.stderr_log import log_to_stderr
from leaderlock.leading import every
from leaderlock.log import log
from leaderlock.once import function_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
    from contextlib import AbstractAsyncContextManager
    from typing import Literal

    from leaderlock.leadership import Leadership

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    Application = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]
    Lifespan = Callable[..., AbstractAsyncContextManager[None]]
    Task = Callable[[Leadership], object]

__all__ = ["every", "in_one_worker"]

_COROUTINE = "a coroutine function as a task"


@overload
def in_one_worker(
    task: Task,
    *,
    app: Callable[..., Awaitable[None]],
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
) -> Application: ...
@overload
def in_one_worker(
    task: Task,
    *,
    app: None = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
) -> Lifespan: ...
def in_one_worker(
    task: Task,
    *,
    app: Callable[..., Awaitable[None]] | None = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
) -> Application | Lifespan:
    """Let one worker of an ASGI server run the task, while the others stand by.

    A worker stands for election when its application has started, and serves meanwhile. When it shuts
    down, the task is asked to stop first, and has 5 seconds; the application shuts down after that.

    A coroutine function runs in the application's event loop, in the context of its startup. Asked to
    stop, it is cancelled. A plain function runs in a native thread; see `Election.start`. Trio's loop
    takes plain functions only.

    With a lease, the worker is killed, with its requests, if the *loop* is stuck for so long: it beats
    for a coroutine, which is left alone while it merely awaits (`asyncio.timeout` limits that). A plain
    function has to beat itself.

    A lock that cannot be used stops no worker: the error goes to the log, and the worker tries again
    after a backoff. What the ``leaderlock`` logger says goes to standard error, unless the application
    gives it or the root logger a handler. A server that sends no lifespan messages never begins the
    task; that is logged at the first request.

    Args:
        task: a function or coroutine function of one argument, the `Leadership`.
        app: the application to wrap. Its own lifespan, if it has one, works as before.
        name: the lock's name. By default it is made of the task's name and the path of the file that
            calls this, so that other applications of the same user do not get in its way; a rolling
            release into a new directory needs a name of your own.
        path: a path in place of the name.
        on_return, backoff, lease: as for `Election`.

    Returns:
        The application, wrapped. Without one, what frameworks take as their ``lifespan``: a function
        that returns an async context manager, and ignores its arguments.

    Raises:
        TypeError, ValueError: an argument is not of its form.
        Unsupported: a lease where there is no such timer, or the URL of an engine.
    """
    is_coroutine = _is_coroutine_function(task)
    if is_coroutine:
        _require_one_argument(task)
    else:
        require_task(task)
    if app is not None and not callable(app):
        raise TypeError(f"app must be an ASGI application, not {app!r}")
    if name is None and path is None:
        name = function_name(task, place=os.path.abspath(sys._getframe(1).f_code.co_filename))
    election = Election(path, name=name, on_return=on_return, backoff=backoff, lease=lease)
    stand = functools.partial(_standing, election, task, is_coroutine)
    if app is None:
        return lambda *_: stand()
    return _wrapped(app, stand, needs_asyncio=is_coroutine)


def _is_coroutine_function(task: object) -> bool:
    return callable(task) and (
        inspect.iscoroutinefunction(task) or inspect.iscoroutinefunction(type(task).__call__)
    )


def _require_one_argument(task: Task) -> None:
    try:
        inspect.signature(task).bind(None)
    except TypeError as error:
        raise TypeError(
            f"the task must take one argument, the leadership: {task!r}: {error}"
        ) from error


@contextlib.asynccontextmanager
async def _standing(election: Election, task: Task, is_coroutine: bool) -> AsyncIterator[None]:
    """Stand for election in this worker; at the end, have the task stop, and resign."""
    log_to_stderr()
    if is_coroutine:
        task = in_loop(task, running_loop(_COROUTINE))  # type: ignore[arg-type]
    election._have_rehearsed()
    try:
        candidate = election.start_unchecked(task)
    except RuntimeError as error:  # the system has no thread left
        log().error("this worker does not stand for election: %s", error)
        yield
        return
    try:
        yield
    finally:
        candidate._ask_to_stop()  # first: if the loop is being taken down, nobody can wait any more
        await _stop(candidate)


async def _stop(candidate: Candidate) -> None:
    if await _in_thread(functools.partial(candidate.stop, EXIT_GRACE)):
        return
    candidates.discard(candidate)  # or the interpreter's exit would wait once more
    log().warning(
        "the task for %s did not stop within %g s of the worker's shutdown; the leadership passes on "
        "as it ends, or the process does",
        candidate._lock.path,
        EXIT_GRACE,
    )


async def _in_thread(call: Callable[[], bool]) -> bool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # hypercorn's worker class of that name
        import trio  # noqa: PLC0415  (which runs already)

        return await trio.to_thread.run_sync(call)
    return await loop.run_in_executor(None, call)


def _wrapped(
    app: Callable[..., Awaitable[None]], stand: Lifespan, *, needs_asyncio: bool
) -> Application:
    may_be_missing = True

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal may_be_missing
        if scope["type"] == "lifespan":
            may_be_missing = False
            try:
                if needs_asyncio:
                    running_loop(_COROUTINE)
            except Unsupported as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
            else:
                await _Life(app, stand, receive, send).live(scope)
            return
        if may_be_missing:
            may_be_missing = False
            log_to_stderr()
            log().error(
                "no worker runs the task: this server has sent no lifespan messages (or this is an "
                "application inside of another one, which does not hand them on): switch them on, or "
                "wrap the outer application"
            )
        await app(scope, receive, send)

    return application


class _Life:
    """One lifespan of an application, whose messages pass through here.

    Where the application ends by itself, since it does not know the protocol or is done with it, we go
    on in its place, as the server goes on too.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], stand: Lifespan, receive: Receive, send: Send
    ) -> None:
        self._app = app
        self._stand = stand
        self._receive = receive
        self._send = send
        self._received = self._answered = ""

    async def live(self, scope: Message) -> None:
        async with contextlib.AsyncExitStack() as self._standing:
            try:
                await self._app(scope, self._receive_for_app, self._send_for_app)
            except Exception as error:  # whatever it raises
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
            await self._standing.aclose()
        return message

    async def _send_for_app(self, message: Message) -> None:
        kind = message["type"]
        if kind.startswith("lifespan."):
            self._answered = kind
        if kind == "lifespan.startup.complete":
            await self._standing.enter_async_context(self._stand())
        await self._send(message)

    def _say_that_it_has_ended(self, error: Exception) -> None:
        if self._received:  # it knows the protocol, it seems
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
