"""The runner of tasks in an event loop: a native thread campaigns, and waits for the end of the work.

The thread campaigns as for every task, so a coroutine's term begins and ends like any other term.

With a lease, the loop is watched: a callback beats, so the lease acts when anything blocks the loop. A
coroutine that merely waits for a long time is left alone: leaderlock cannot know whether the wait is in
vain, and need not kill a whole process for it. `asyncio.timeout` ends such a wait, with an exception.
"""

from __future__ import annotations

import asyncio
import functools

from leaderlock.election.current import current
from leaderlock.election.runners.native import NativeRunner
from leaderlock.errors import LeadershipLost, Unsupported
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.posted import post

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine
    from typing import Any, Protocol

    from leaderlock.election.leadership import Leadership

    class LoopWork(Protocol):
        """The work of one term, which is done in an event loop."""

        def begin(self, end: Callable[[], object]) -> None:
            """In the loop: begin. The work calls `end` at its end; any thread may call that.

            If an exception of a signal handler interrupts `begin`, it is called again.
            """

        def cancel(self) -> None:
            """In the loop, at most once: ask the work to end, since the task must stop."""

        def result(self) -> object:
            """In the campaigning thread, after the end: the result, or raise the work's exception."""


_BEATS = 4
"""Beats in the time of a lease: one beat that a busy loop delays does not kill the process."""


def running_loop(what: str, remedy: str) -> asyncio.AbstractEventLoop:
    """The loop of the caller.

    Args:
        what: the call that needs the loop, for the message.
        remedy: a call that does not need the loop, for the message.

    Raises:
        Unsupported: no loop of asyncio's kind runs here, as under Trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError as error:
        raise Unsupported(
            f"{what} needs an event loop of asyncio's kind (uvloop's is one), and none runs here; "
            f"under Trio, {remedy}, which runs in a thread of its own"
        ) from error


class LoopTerm:
    """One term whose work is done in an event loop, while the candidate's thread waits for its end.

    Args:
        loop: the loop in which the work is done.
        leadership: the leadership of the candidate whose thread waits.
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
        """In the candidate's thread: call `begin` in the loop, and wait until `end` is called.

        Raises:
            SystemExit: the loop is closed, so the work will never be done.
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
            self._begun.wait()  # first, or the deferred log call would keep the GIL from the loop
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
        """Cancel the work, since the task is asked to stop."""
        try:
            post(self._loop, self._call_off_once, self._finish)
            if self._loop.is_running():
                return
        except RuntimeError:  # closed
            pass
        self._finish()  # the process exits: the work was abandoned

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
        except LeadershipLost:  # work that still goes on is killed at the end of the lease
            return
        self._next_beat = self._loop.call_later(switch.lease / _BEATS, self._beat)

    def end(self) -> None:
        """In the loop: the work is done. Let the thread go on, and cancel nothing any more."""
        self.end_anywhere()
        if self._next_beat is not None:
            self._next_beat.cancel()

    def end_anywhere(self) -> None:
        """`end` from any thread: the pending beat finds the term ended. Repeatable if interrupted."""
        self._call_off = None
        self._finish()


class LoopRunner(NativeRunner):
    """Runs tasks in an event loop, while the campaigning thread waits for the end; see `Runner`.

    The campaigning thread also runs the callbacks. A task for this runner makes the work of one term: a
    `LoopWork`, as `coroutine_task` does.

    Args:
        loop: the loop in which the work is done.
        context: each work begins in a copy of this context, as a task of the leadership; None: in the
            loop's own context.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context | None = None
    ) -> None:
        super().__init__()
        self._loop = loop
        self._work_context = context
        self._term: LoopTerm | None = None
        self._is_over = False

    def call(self, task: Callable[[Leadership], LoopWork], leadership: Leadership) -> object:
        """Have the work done in the loop, and wait for its end.

        Raises:
            SystemExit: the loop is closed, so the work will never be done.
        """
        work = task(leadership)
        context = None if self._work_context is None else self._work_context.copy()
        if context is not None:
            context.run(current.set, leadership)
        term = self._term = LoopTerm(self._loop, leadership, work.cancel)
        if not self._is_over:  # check after setting `_term`; `end_work` sets `_is_over` first
            term.wait_in_thread(lambda: work.begin(term.end), context)
        return work.result()

    def end_work(self) -> None:
        """End the work, from any thread, and begin no other one; repeatable if interrupted."""
        self._is_over = True
        if self._term is not None:
            self._term.end_anywhere()


def coroutine_task(
    function: Callable[[Leadership], Coroutine[Any, Any, object]],
) -> Callable[[Leadership], LoopWork]:
    """Make a task for a `LoopRunner` of a coroutine function.

    The coroutine is cancelled when it is asked to stop. If other code cancels it, the task has failed.
    """
    return functools.partial(_CoroutineWork, function)


class _CoroutineWork:
    """A coroutine as the work of one term; see `LoopWork`."""

    def __init__(
        self, function: Callable[[Leadership], Coroutine[Any, Any, object]], leadership: Leadership
    ) -> None:
        self._function = function
        self._leadership = leadership
        self._running: list[asyncio.Task[object]] = []

    async def _work(self) -> object:
        running = self._running
        task = asyncio.current_task()
        if not running and task is not None:
            running.append(task)
        if running[0] is not task:  # an exception interrupted `begin` after it had made a task
            await asyncio.wait(running)
            return None
        return await self._function(self._leadership)

    def begin(self, end: Callable[[], object]) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        task.add_done_callback(lambda _: end())
        if not self._running:
            self._running.append(task)

    def cancel(self) -> None:
        for task in self._running:
            task.cancel()

    def result(self) -> object:
        if not (self._running and self._running[0].done()):  # the process exits
            return None
        if self._running[0].cancelled():
            if self._leadership._stopping.is_set():
                return None
            raise RuntimeError(
                "the coroutine was cancelled, or did not catch the cancellation of another"
            )
        return self._running[0].result()
