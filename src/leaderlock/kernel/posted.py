"""Callbacks for an event loop that survive a signal handler that raises in the loop's own code."""

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
    """A callback for a loop, posted again until the callback has run to its end once.

    If a signal handler raises in asyncio's own code, asyncio loses the callback that was about to run;
    `close` of a loop drops the waiting callbacks. In both cases Python collects this object, and
    `io.IOBase` calls `close`. All this is C code, also `start_new_thread`: no handler can come first.

    Args:
        loop: runs the callback.
        callback: the function to run; called again if an exception interrupted it.
        closed: called in a native thread if the loop was closed before the callback ran.
        context: the context to run the callback in.
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
        """Run the callback; the loop calls this."""
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
