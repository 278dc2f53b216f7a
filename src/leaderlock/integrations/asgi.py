"""ASGI: runs a task in one worker of a server; when that worker ends, another one takes over.

    # in the module that holds the application
    from leaderlock.integrations.asgi import in_one_worker
    app = FastAPI(lifespan=in_one_worker(task))      # or Starlette, or Litestar(lifespan=[...])
    app = in_one_worker(task, app=app)               # any application

ASGI does not show forks: a worker learns of its start and end from the lifespan protocol's messages.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401  (asyncio's own executor imports it late)
import contextlib
import contextvars
import functools
import inspect
import os
import signal
from typing import overload

from leaderlock.election.aio.block import every
from leaderlock.election.at_exit import EXIT_GRACE, candidates, is_ending, stop_at_exit
from leaderlock.election.candidate import Candidate
from leaderlock.election.placement import stand_here
from leaderlock.election.placement.retiring import heeding_asgi
from leaderlock.election.placement.stderr_log import log_to_stderr
from leaderlock.election.runners.loop import LoopRunner, coroutine_task, running_loop
from leaderlock.election.task import require_task
from leaderlock.integrations import hook_election
from leaderlock.integrations.lifespan import with_lifespan
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.threads import start_new_thread
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import Literal

    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership
    from leaderlock.integrations.lifespan import Application, Lifespan

    Task = Callable[[Leadership], object]

__all__ = ["every", "in_one_worker"]


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
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
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
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> Lifespan: ...
@names_near_keyword
def in_one_worker(
    task: Task,
    *,
    app: Callable[..., Awaitable[None]] | None = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    on_return: Literal["hold", "resign"] = "hold",
    backoff: tuple[float, float] = (1.0, 60.0),
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
    on_elected: Callable[[Leadership], object] | None = None,
    on_resigned: Callable[[Leadership], object] | None = None,
    thread: Literal["auto", "native"] = "auto",
    keeper: bool = True,
) -> Application | Lifespan:
    """Let one worker of an ASGI server run the task, while the others stand by.

    A worker stands for election when its application has started, and serves requests meanwhile.
    When the worker shuts down, it first asks the task to stop and waits up to 5 seconds; then the
    application shuts down.

    A coroutine function runs in the application's event loop, in the context of its startup. It is
    cancelled when it must stop. A plain function runs in a native thread; see `Election.start`. Under
    Trio only plain functions work.

    With a lease, the worker is killed, with its requests, if the *event loop* is stuck for longer than
    the lease. The loop beats for a coroutine, so a coroutine that merely awaits is never late; limit
    such waits with `asyncio.timeout`. A plain function must call `Leadership.beat` itself.

    A lock that cannot be used does not stop a worker: the worker logs the error, and tries again
    after a backoff. The ``leaderlock`` logger writes to standard error, unless the application gives
    a handler to this logger or to the root logger. If a server sends no lifespan messages, the task
    never starts; that is logged at the first request.

    Args:
        task: a function or coroutine function of one argument, the `Leadership`.
        app: the application to wrap. Its own lifespan, if it has one, works as before.
        name: the lock's name. The default is made of the task's name and the path of the calling file,
            so that other applications of the same user do not get in its way. Set a name if each
            release goes into a new directory: the releases then share one leader.
        path: in place of the name, a path, or the URL of an engine.
        on_return, backoff, lease, within, thread, keeper: the same as for `Election`.
        on_elected, on_resigned: the same as for `Election`: plain functions, called in the candidate's
            thread, not in the event loop, even if the task is a coroutine function.

    Returns:
        The wrapped application. Without `app`, a value for a framework's ``lifespan``: a function that
        ignores its arguments and returns an async context manager.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL.
    """
    is_coroutine = _is_coroutine_function(task)
    if app is not None and not callable(app):
        raise TypeError(f"app must be an ASGI application, not {app!r}")
    election = hook_election(
        task,
        name,
        path,
        check=_require_one_argument if is_coroutine else require_task,
        on_return=on_return,
        backoff=backoff,
        lease=lease,
        within=within,
        on_elected=on_elected,
        on_resigned=on_resigned,
        thread=thread,
        keeper=keeper,
    )

    def lifespan(*_: object) -> AbstractAsyncContextManager[None]:
        return _standing(election, task, is_coroutine)

    if app is None:
        return lifespan
    return with_lifespan(app, lifespan, _require_asyncio if is_coroutine else lambda: None)


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


def _require_asyncio() -> asyncio.AbstractEventLoop:
    return running_loop("a coroutine function as a task", "give a plain function")


@contextlib.asynccontextmanager
async def _standing(election: Election, task: Task, is_coroutine: bool) -> AsyncIterator[None]:
    """Stand for election in this worker; at the end, ask the task to stop, and resign."""
    with heeding_asgi():
        async with _candidate(election, task, is_coroutine):
            yield


@contextlib.asynccontextmanager
async def _candidate(election: Election, task: Task, is_coroutine: bool) -> AsyncIterator[None]:
    log_to_stderr()
    if is_ending():  # the server was told to end during the application's startup
        yield
        return
    runner = None
    if is_coroutine:
        runner = LoopRunner(_require_asyncio(), contextvars.copy_context())
        task = coroutine_task(task)  # type: ignore[arg-type]
    election.rehearse_before_parking()
    candidate = stand_here(election, task, runner)
    if candidate is None:
        yield
        return
    with _ending_in_good_order():
        try:
            yield
        finally:
            candidate.ask_to_stop()  # first: a loop that is being closed can wait no more
            await _stop(candidate)


async def _stop(candidate: Candidate) -> None:
    if await _in_thread(functools.partial(candidate.stop, EXIT_GRACE)):
        return
    candidates.discard(candidate)  # otherwise the interpreter's exit would wait once more
    log().warning(
        "the task for %s did not stop within %g s of the worker's shutdown; the leadership passes on "
        "as it ends, or the process does",
        candidate.address,
        EXIT_GRACE,
    )


async def _in_thread(call: Callable[[], bool]) -> bool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # Hypercorn's worker class for Trio
        import trio  # noqa: PLC0415  (already imported by the worker)

        return await trio.to_thread.run_sync(call)
    return await loop.run_in_executor(None, call)


@contextlib.contextmanager
def _ending_in_good_order() -> Iterator[None]:
    """Ask the task to stop also if the server ends the worker by a SIGTERM with the default action.

    When the first worker has shut down, Hypercorn sends two SIGTERM to each worker that still shuts
    down: one from its loop, and one when `multiprocessing` ends its daemons.
    """
    handler = _StopAndDie()
    is_ours = False
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):  # not the main thread: a server, or a test, in a thread
            signal.signal(signal.SIGTERM, handler)
            is_ours = True
    try:
        yield
    finally:
        if is_ours and not handler.is_called and signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class _StopAndDie:
    """A signal handler: the process dies of the signal as soon as its tasks have ended."""

    def __init__(self) -> None:
        self.is_called = self._have_ended = False

    def __call__(self, number: int, _frame: object) -> None:
        if self._have_ended:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self.is_called:
            self.is_called = True
            # A thread, since this one may run a coroutine, which cannot end while we wait here.
            start_new_thread(self._stop, (number,))

    def _stop(self, number: int) -> None:
        stop_at_exit()
        self._have_ended = True
        os.kill(os.getpid(), number)
