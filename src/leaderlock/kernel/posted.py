"""Callbacks for an event loop that are not lost when a signal handler raises in the loop's own code."""

from __future__ import annotations

import functools
import io

from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextvars import Context


class Posted(io.IOBase):
    """A callback for a loop, which is posted again until it has run to its end once.

    A signal handler that raises in asyncio's own code loses the callback that was about to run, and
    `close` of a loop drops those that wait. Either way this object is collected, and `io.IOBase` calls
    `close` then. Both are C code, as `start_new_thread` is: no handler can come first.

    Args:
        loop: runs it.
        callback: what to run; it can be called again if it was broken off.
        closed: called in a native thread if the loop was closed before.
        context: to run it in.
    """

    closed = False
    close: Callable[[], object]  # type: ignore[assignment]

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        callback: Callable[[], object],
        closed: Callable[[], object],
        context: Context | None = None,
    ) -> None:
        self._callback = callback
        again = functools.partial(_post_again, loop, callback, closed, context)
        self.close = functools.partial(start_new_thread, again, ())

    def run(self) -> None:
        """In the loop."""
        self._callback()
        self.closed = True


def post(
    loop: asyncio.AbstractEventLoop,
    callback: Callable[[], object],
    closed: Callable[[], object],
    context: Context | None = None,
) -> None:
    """Have the loop run a callback, from any thread; see `Posted`.

    Raises:
        RuntimeError: the loop is closed.
    """
    posted = Posted(loop, callback, closed, context)
    try:
        loop.call_soon_threadsafe(posted.run, context=context)
    except RuntimeError:
        posted.closed = True
        raise


def _post_again(
    loop: asyncio.AbstractEventLoop,
    callback: Callable[[], object],
    closed: Callable[[], object],
    context: Context | None,
) -> None:
    try:
        post(loop, callback, closed, context)
    except RuntimeError:
        closed()
