"""The work of a term, done in an event loop, while a native thread sits the term out.

The thread campaigns, as for every task: so a coroutine's term begins and ends as any other one.

With a lease it is the loop that is watched: a callback beats, and so the lease acts when the loop is
stuck, whatever it is that blocks it. A coroutine that merely waits for long is left alone, since nobody
can tell whether it waits in vain, and since there is no need to kill a whole process for that:
`asyncio.timeout` ends such a wait, with an exception.
"""

from __future__ import annotations

import asyncio
import contextvars

from leaderlock.election.current import current
from leaderlock.errors import LeadershipLost, Unsupported
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.posted import post

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from leaderlock.election.leadership import Leadership

_BEATS = 4
"""In a lease: one that a busy loop puts off is not death."""


def running_loop(what: str, remedy: str) -> asyncio.AbstractEventLoop:
    """The loop of the caller.

    Args:
        what: needs it.
        remedy: does not.

    Raises:
        Unsupported: there is none of asyncio's kind, as under Trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise Unsupported(
            f"{what} needs an event loop of asyncio's kind (uvloop's is one), and none runs here; "
            f"under Trio, {remedy}, which runs in a thread of its own"
        ) from error


class LoopTerm:
    """One term whose work is done in an event loop, while the candidate's thread sits it out.

    Args:
        loop: it must be the one that the work is done in.
        leadership: of the candidate whose thread this is.
        call_off: asks the work to end; called in the loop, once at most.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        leadership: Leadership,
        call_off: Callable[[], object],
    ) -> None:
        self._loop = loop
        self._leadership = leadership
        self._call_off: Callable[[], object] | None = call_off
        self._next_beat: asyncio.TimerHandle | None = None
        self._begun, self._ended = NativeEvent(), NativeEvent()
        self._is_dropped = False

    def wait_in_thread(
        self, begin: Callable[[], object], context: contextvars.Context | None = None
    ) -> None:
        """In the candidate's thread: call `begin` in the loop, and wait until somebody calls `end`.

        Raises:
            SystemExit: the loop is closed, and so nothing will ever be done in it.
        """

        def begin_and_beat() -> None:
            begin()
            self._begun.set()
            if self._next_beat is None:
                self._beat()

        leadership = self._leadership
        leadership._is_beaten_for = True
        news, leadership._deferred = leadership._deferred, None
        try:
            post(self._loop, begin_and_beat, self._drop, context)
        except RuntimeError as error:
            raise SystemExit from error
        with leadership._stopping.releasing(self):
            self._begun.wait()  # or the loop would have to wait for the GIL while this thread tells
            leadership._deferred = news
            leadership._run_deferred_and_watch()
            self._ended.wait()
        if self._is_dropped:
            raise SystemExit

    def _drop(self) -> None:
        self._is_dropped = True
        self._finish()

    def _finish(self) -> None:
        self._ended.set()
        self._begun.set()

    def release(self) -> None:
        """The task is asked to stop: call the work off."""
        try:
            post(self._loop, self._call_off_once, self._finish)
            if self._loop.is_running():
                return
        except RuntimeError:  # closed
            pass
        self._finish()  # the process exits: the work has been left where it stood

    def _call_off_once(self) -> None:
        if self._call_off is not None:
            self._call_off()
        self._call_off = None

    def _beat(self) -> None:
        switch = self._leadership._switch
        if switch is None or self._ended.is_set():
            return
        try:
            self._leadership.beat()
        except LeadershipLost:  # work that goes on all the same ends with the lease
            return
        self._next_beat = self._loop.call_later(switch.lease / _BEATS, self._beat)

    def end(self) -> None:
        """In the loop: the work is done, the thread goes on, and nothing is called off any more."""
        self.end_anywhere()
        if self._next_beat is not None:
            self._next_beat.cancel()

    def end_anywhere(self) -> None:
        """`end`, without the next beat, which finds the term ended; again, if it was broken off."""
        self._call_off = None
        self._finish()


def in_loop(
    function: Callable[[Leadership], Coroutine[Any, Any, object]], loop: asyncio.AbstractEventLoop
) -> Callable[[Leadership], object]:
    """A task for a candidate that runs a coroutine function in a loop, in a context like the caller's.

    The coroutine is cancelled when it is asked to stop. If it is cancelled by others, it has failed.
    """
    context = contextvars.copy_context()

    def task(leadership: Leadership) -> object:
        running: list[asyncio.Task[object]] = []

        async def work() -> object:
            task = asyncio.current_task()
            if not running and task is not None:
                running.append(task)
            if running[0] is not task:  # `begin` was broken off after it had made a task
                await asyncio.wait(running)
                return None
            return await function(leadership)

        def begin() -> None:
            task = loop.create_task(work())
            task.add_done_callback(lambda _: term.end())
            if not running:
                running.append(task)

        term = LoopTerm(loop, leadership, lambda: [task.cancel() for task in running])
        own = context.copy()
        own.run(current.set, leadership)
        term.wait_in_thread(begin, own)
        if not (running and running[0].done()):  # the process exits
            return None
        if running[0].cancelled():
            if leadership._stopping.is_set():
                return None
            raise RuntimeError(
                "the coroutine was cancelled, or did not catch the cancellation of another"
            )
        return running[0].result()

    return task
