"""A worker that was told to end does not begin to lead, between the end of the leader and its own.

A server tells its workers to end all at once. The leader among them resigns; without this, the next one
in the queue would begin the task for the moments, or for its last requests, until it ends as well.
"""

from __future__ import annotations

import contextlib

from leaderlock.election.at_exit import end_notices, retire
from leaderlock.election.placement.place import frames
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from gunicorn.workers.base import Worker


def retire_at_signals() -> list[tuple[int, _Retiring]]:
    """Have standbys leave the queue when a signal comes by which the server's own handler ends.

    Called in the main thread, once the handlers are in place; in another one it does nothing.

    Returns:
        Signals, and the handlers that they have got.
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
    if number == signal.SIGTERM:  # as gunicorn and asyncio have it: it interrupts no request
        signal.siginterrupt(number, False)
    return True


class _Retiring:
    """A signal's handler before which the standbys of this process leave the queue."""

    def __init__(self, handler: Callable[[int, Any], object]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: Any) -> None:
        retire()
        self.handler(number, frame)


def heed_gunicorn(worker: Worker) -> None:
    """Take notice of the end of a gunicorn worker, also by ``max_requests``."""
    end_notices.append(lambda: not worker.alive)
    if not type(worker).__module__.startswith("gunicorn."):
        end_notices.append(_uvicorn_ends)


@contextlib.contextmanager
def heeding_asgi() -> Iterator[None]:
    """Take notice of the end of an ASGI server's worker, in whose event loop the caller runs."""
    notices = [_uvicorn_ends]
    for frame in frames():
        # Hypercorn tells its workers by an event that they share, and not by a signal.
        if str(frame.f_globals.get("__name__")).startswith("hypercorn."):
            event = frame.f_locals.get("shutdown_event")
            if event is not None:
                notices.append(event.is_set)
                break
    end_notices.extend(notices)
    placed = retire_at_signals()
    try:
        yield
    finally:
        for number, retiring in placed:
            current: object = signal.getsignal(number)
            if current is retiring:  # asyncio.run looks whether the handler is its own
                _set(number, retiring.handler)
        for notice in notices:
            end_notices.remove(notice)


def _uvicorn_ends() -> bool:
    """Whether uvicorn's server has been told to: its handler of SIGTERM is a method of its own."""
    handler = signal.getsignal(signal.SIGTERM)
    own: Any = handler.handler if isinstance(handler, _Retiring) else handler
    return bool(getattr(getattr(own, "__self__", None), "should_exit", False))
