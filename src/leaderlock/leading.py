"""To lead in a coroutine: `async with election.lead()`."""

from __future__ import annotations

import asyncio
import contextlib

from leaderlock.at_exit import candidates
from leaderlock.candidate import Candidate
from leaderlock.current import current
from leaderlock.errors import LeadershipLost
from leaderlock.in_loop import Term, running_loop
from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from leaderlock.election import Election
    from leaderlock.leadership import Leadership


def every(leadership: Leadership, seconds: float) -> AsyncIterator[int]:
    """`Leadership.every`, for ``async for``; from before that could be used so itself.

    Raises:
        ValueError: seconds is not a positive number.
    """
    return leadership.every(seconds)


@contextlib.asynccontextmanager
async def lead(election: Election) -> AsyncIterator[Leadership]:
    """What `Election.lead` returns."""
    stay = _Stay(election, running_loop("lead()", "use start()"))
    leadership = await stay.begin()
    token = current.set(leadership)
    try:
        yield leadership
    except asyncio.CancelledError as error:
        if stay.has_only_lost(leadership):
            raise stay.loss() from error
        raise
    finally:
        with contextlib.suppress(ValueError):  # entered in another context, as by some test fixtures
            current.reset(token)
        await stay.end()
    if leadership.lost:
        raise stay.loss()


class _Stay:
    """The candidate of one `lead` block."""

    def __init__(self, election: Election, loop: asyncio.AbstractEventLoop) -> None:
        self._candidate = Candidate(election, self._sit_out)
        self._election = election
        self._loop = loop
        self._body: Any = asyncio.current_task()
        self._cancellations = self._cancelling()
        self._elected: asyncio.Future[Leadership] = loop.create_future()
        self._thread_ended: asyncio.Future[None] = loop.create_future()
        self._term: Term | None = None
        self._is_cancelled = False

    async def begin(self) -> Leadership:
        self._election._have_rehearsed()
        candidates.add(self._candidate)
        try:
            start_new_thread(self._campaign, ())
        except RuntimeError:  # the system has no thread left
            candidates.discard(self._candidate)
            raise
        try:
            return await self._elected
        except BaseException:  # cancelled, or the lock cannot be used
            await self.end()
            raise

    def _campaign(self) -> None:
        """The candidate's thread."""
        failure: BaseException | None = None
        try:
            self._candidate.campaign(in_foreground=True)
        except SystemExit:  # the loop is closed
            return
        except BaseException as error:  # noqa: BLE001  (raised where it is awaited)
            failure = error

        def tell() -> None:
            if failure is not None and not self._elected.done():
                self._elected.set_exception(failure)
            self._elected.cancel()
            if not self._thread_ended.done():
                self._thread_ended.set_result(None)

        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(tell)

    def _sit_out(self, leadership: Leadership) -> None:
        def begin() -> None:
            self._term = term
            if self._elected.done():  # cancelled meanwhile
                term.end()
            else:
                self._elected.set_result(leadership)

        term = Term(self._loop, leadership, self._cancel)
        term.sit_out(begin)
        self._candidate._request_stop()  # nothing else is to come of it, also if it was lost

    def _cancel(self) -> None:
        if self._body is not None:
            self._is_cancelled = True
            self._body.cancel("the leadership is lost, or the process exits")

    def has_only_lost(self, leadership: Leadership) -> bool:
        """Whether the loss is why the block was cancelled, and nobody else has asked for it as well."""
        is_ours = self._is_cancelled
        self._take_back()
        return (
            is_ours
            and (leadership.lost or leadership.request.asked)
            and self._cancelling() <= self._cancellations
        )

    def _take_back(self) -> None:
        if self._is_cancelled and hasattr(self._body, "uncancel"):  # Python 3.11
            self._body.uncancel()
        self._is_cancelled = False

    def _cancelling(self) -> int:
        count: int = getattr(self._body, "cancelling", int)()  # 0 before Python 3.11
        return count

    def loss(self) -> LeadershipLost:
        return LeadershipLost(
            f"the leadership of {self._election.lock.path} was lost in the block, or given up on "
            f"request"
        )

    async def end(self) -> None:
        """Resign, or leave the queue; when this returns, the candidate has ended."""
        self._candidate._ask_to_stop()
        if self._term is not None:
            self._term.end()
        self._take_back()
        if not self._loop.is_running():  # a coroutine that nobody will run any more is collected
            return
        try:
            await asyncio.shield(self._thread_ended)
        except asyncio.CancelledError:
            self._candidate._until_ended(None)  # natively: what is left is the thread's last steps
            raise
