"""`async with election.lead()`: a coroutine leads for the time of a block."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import weakref

from leaderlock.election.at_exit import candidates
from leaderlock.election.candidate import Candidate
from leaderlock.election.current import current
from leaderlock.election.runners.loop import LoopRunner, running_loop
from leaderlock.errors import LeadershipLost
from leaderlock.kernel.posted import post
from leaderlock.kernel.threads import no_thread, start_new_thread
from leaderlock.lock.leaving import Leaving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator
    from contextvars import Token
    from typing import Any

    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners.loop import LoopWork


def every(leadership: Leadership, seconds: float) -> AsyncIterator[int]:
    """`Leadership.every` for ``async for``; kept from before `Leadership.every` supported that.

    Raises:
        ValueError: seconds is not a positive number.
    """
    return leadership.every(seconds)


def _leave(block: Lead) -> Generator[Awaitable[None] | None, None, None]:
    outer = sys.exc_info()[1]
    stay = None
    try:
        yield None
        stay = block._stay
        assert stay is not None
        stay.end()
        error = sys.exc_info()[1]  # the block's own error, unless it was set before the block
        yield stay.leave(None if error is outer else error)
    except GeneratorExit:  # the block was never entered, or the generator has finished
        return
    except BaseException:
        if stay is None:
            stay = block._stay
        if stay is not None:
            try:
                stay.end()
            except BaseException:
                start_new_thread(stay.end, ())
                raise
        raise


class Lead(contextlib.AbstractAsyncContextManager["Leadership"]):
    """The context manager that `Election.lead` returns.

    The block owns the candidate from before the candidate's thread is started until the block has told
    the candidate to end; that needs no loop. An exception of a signal handler cannot prevent this: see
    `leaving`.
    """

    def __init__(self, election: Election) -> None:
        self._election = election
        self._stay: _LeadBlock | None = None

    async def __aenter__(self) -> Leadership:
        stay = None
        try:
            loop = running_loop("lead()", "use start()")
            stay = self._stay = _LeadBlock(self._election, loop)
            return await stay.enter()
        except BaseException as error:  # cancelled, an unusable lock, or raised by a signal handler
            if stay is not None:
                try:
                    stay.end()
                except BaseException:
                    start_new_thread(stay.end, ())
                    raise
                if not isinstance(error, GeneratorExit):
                    await stay.until_ended()
            raise

    __aexit__ = Leaving(_leave)


class _LeadBlock:
    """The candidate of one `lead` block."""

    def __init__(self, election: Election, loop: asyncio.AbstractEventLoop) -> None:
        self._runner = LoopRunner(loop)
        self._candidate = Candidate(election.settings, self._work, self._runner)
        self._election = election
        self._loop = loop
        # A weak reference: a coroutine that its loop has lost is then collected, and the block ends.
        self._body: Callable[[], Any] = _weak(asyncio.current_task())
        self._cancellations = self._cancelling()
        self._elected: asyncio.Future[Leadership] = loop.create_future()
        self._thread_ended: asyncio.Future[None] = loop.create_future()
        self._thread: int | None = None
        self._token: Token[Leadership | None] | None = None
        self._is_over = False
        self._is_cancelled = False

    async def enter(self) -> Leadership:
        self._election.rehearse_before_parking()
        candidates.add(self._candidate)
        # By `map`, no signal handler runs between the start and the assignment: see `Descriptor`.
        try:
            (self._thread,) = map(start_new_thread, (self._campaign,), ((),))
        except RuntimeError as error:
            raise no_thread(error) from error.__cause__
        leadership = await self._elected
        self._token = current.set(leadership)
        return leadership

    def _campaign(self) -> None:
        """Campaign in the candidate's thread."""
        failure: BaseException | None = None
        try:
            self._candidate.campaign(in_foreground=True)
        except SystemExit:  # the loop is closed
            return
        except BaseException as error:  # noqa: BLE001  (raised in the coroutine that awaits it)
            failure = error

        def tell() -> None:
            if failure is not None and not self._elected.done():
                self._elected.set_exception(failure)
            self._elected.cancel()
            if not self._thread_ended.done():
                self._thread_ended.set_result(None)

        with contextlib.suppress(RuntimeError):  # the loop was closed
            post(self._loop, tell, lambda: None)

    def _work(self, leadership: Leadership) -> LoopWork:
        self._leadership = leadership
        return self

    # The block as the work of the one term: see `LoopWork`.

    def begin(self, end: Callable[[], object]) -> None:
        if self._is_over or self._elected.cancelled():
            end()
        elif not self._elected.done():
            self._elected.set_result(self._leadership)

    def result(self) -> None:
        self._candidate._request_stop()  # stand for one term only, even if the term was lost

    def cancel(self) -> None:
        body = self._body()
        if body is not None:
            self._is_cancelled = True
            body.cancel("the leadership is lost, or the process exits")

    def end(self) -> None:
        """Have the candidate resign or leave the queue; in any thread; repeatable if interrupted."""
        self._is_over = True
        self._runner.end_work()
        self._candidate.ask_to_stop()
        if self._thread is None:
            candidates.discard(self._candidate)

    async def until_ended(self) -> None:
        """Wait until the candidate has ended, after `end`."""
        self._withdraw_cancellation()
        if self._thread is None or not self._loop.is_running():
            return
        try:
            await asyncio.shield(self._thread_ended)
        except asyncio.CancelledError:
            self._candidate._until_ended(None)  # blocks only for the thread's last steps
            raise

    async def leave(self, error: BaseException | None) -> None:
        """Finish the block's end, after `end`.

        Args:
            error: the exception that has ended the block, if any.

        Raises:
            LeadershipLost: the leadership is lost, and the block was cancelled for that or has ended
                without noticing.
        """
        leadership = self._elected.result()
        was_cancelled_by_loss = isinstance(
            error, asyncio.CancelledError
        ) and self._is_cancelled_by_loss(leadership)
        if self._token is not None:
            # ValueError: the block was entered in another context, as in some test fixtures.
            with contextlib.suppress(ValueError):
                current.reset(self._token)
        if isinstance(error, GeneratorExit):  # the coroutine will never run again
            return
        await self.until_ended()
        if was_cancelled_by_loss or (error is None and leadership.lost):
            raise LeadershipLost(
                f"the leadership of {self._candidate.address} was lost in the block, or given up on "
                f"request"
            ) from error

    def _is_cancelled_by_loss(self, leadership: Leadership) -> bool:
        """Whether the loss was the only reason for the block's cancellation."""
        is_ours = self._is_cancelled
        self._withdraw_cancellation()
        return (
            is_ours
            and (leadership.lost or leadership._tenure.request.asked)
            and self._cancelling() <= self._cancellations
        )

    def _withdraw_cancellation(self) -> None:
        body = self._body()
        if self._is_cancelled and hasattr(body, "uncancel"):  # Python 3.11
            body.uncancel()
        self._is_cancelled = False

    def _cancelling(self) -> int:
        count: int = getattr(self._body(), "cancelling", int)()  # 0 before Python 3.11
        return count


def _weak(task: asyncio.Task[Any] | None) -> Callable[[], Any]:
    return weakref.ref(task) if task is not None else lambda: None
