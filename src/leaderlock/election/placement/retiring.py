"""A worker that was told to end does not begin to lead between the leader's end and its own.

A server tells all its workers to end at the same time. The leader among them resigns. Without this
module, the next worker in the queue would begin the task, for the moments or the last requests before
it ends as well.
"""

from __future__ import annotations

import contextlib
from functools import partial

from leaderlock.election.at_exit import end_notices, retire
from leaderlock.election.placement.place import frames
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from gunicorn.workers.base import Worker


def retire_at_signals() -> list[tuple[int, _Retiring]]:
    """Have standbys leave the queue at each signal for which the server's own handler ends the process.

    Call this in the main thread, once the server's handlers are set; in another thread it does nothing.

    Returns:
        Pairs of a signal and its new handler.
    """
    placed: list[tuple[int, _Retiring]] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        handler: Any = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, _Retiring):
            retiring = _Retiring(handler)
            if not _set(number, retiring):
                break
            placed.append((number, retiring))
    return placed


def _set(number: int, handler: Any) -> bool:
    try:
        signal.signal(number, handler)
    except ValueError:  # not the main thread
        return False
    if number == signal.SIGTERM:  # as gunicorn and asyncio do: SIGTERM interrupts no request
        signal.siginterrupt(number, False)
    return True


class _Retiring:
    """A signal handler: this process's standbys leave the queue, then the server's handler runs."""

    def __init__(self, handler: Callable[[int, Any], object]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        retire()
        self.handler(number, frame)


def heed_gunicorn(worker: Worker) -> None:
    """Notice the end of a gunicorn worker, also by ``max_requests``."""
    end_notices.append(partial(_has_ended, worker))
    if not type(worker).__module__.startswith("gunicorn."):
        end_notices.append(_uvicorn_ends)


@contextlib.contextmanager
def heeding_asgi() -> Iterator[None]:
    """Notice the end of the ASGI server's worker in whose event loop the caller runs."""
    notices = [_uvicorn_ends]
    for frame in frames():
        module = str(frame.f_globals.get("__name__"))
        # Hypercorn ends its workers by an event that they share, and not by a signal.
        event = frame.f_locals.get("shutdown_event")
        if module.startswith("hypercorn.") and event is not None:
            notices.append(event.is_set)
            break
        worker = frame.f_locals.get("self")
        if module.startswith("gunicorn.workers.") and hasattr(worker, "alive"):
            notices.append(partial(_has_ended, worker))
            break
    end_notices.extend(notices)
    placed = retire_at_signals()
    try:
        yield
    finally:
        for number, retiring in placed:
            current: object = signal.getsignal(number)
            if current is retiring:  # asyncio.run checks that the handler is its own
                _set(number, retiring.handler)
        for notice in notices:
            end_notices.remove(notice)


def _has_ended(worker: Worker) -> bool:
    return not worker.alive


def heed_uvicorn() -> None:
    """Notice the end of uvicorn's server in this process; call this while the server runs."""
    if _uvicorn_ends not in end_notices:
        end_notices.append(_uvicorn_ends)
    retire_at_signals()


def uvicorn_server() -> Any:
    """Uvicorn's server in this process, or None; its SIGTERM handler is a method of the server."""
    handler = signal.getsignal(signal.SIGTERM)
    own: Any = handler.handler if isinstance(handler, _Retiring) else handler
    server = getattr(own, "__self__", None)
    return server if isinstance(getattr(server, "should_exit", None), bool) else None


def _uvicorn_ends() -> bool:
    """Whether uvicorn's server has been told to end."""
    return bool(getattr(uvicorn_server(), "should_exit", False))
