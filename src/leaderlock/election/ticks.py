"""The ticks of `Leadership.every`, for `for` in a thread and for `async for` in a coroutine."""

from __future__ import annotations

import sys
import time

from leaderlock.errors import LeadershipLost
from leaderlock.kernel.eventloop import refuse_to_block, running_library

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from leaderlock.election.leadership import Leadership


class Ticks:
    """Iterator of `Leadership.every`: numbers from 0, one at each tick; may be used once."""

    def __init__(self, leadership: Leadership, seconds: float) -> None:
        self._leadership = leadership
        self._seconds = seconds
        self._ticks: Generator[int, None, None] | None = None
        self._begin: float | None = None

    def __iter__(self) -> Generator[int, None, None]:
        every = f"leadership.every({self._seconds:g})"
        refuse_to_block(
            f"for _ in {every}",
            f"write `async for _ in {every}`, or give a plain function as the task, which runs in a "
            f"thread of its own",
        )
        if self._ticks is None:
            self._ticks = self._run(self._leadership, self._seconds)
        return self._ticks

    def _run(self, leadership: Leadership, seconds: float) -> Generator[int, None, None]:
        begin = time.monotonic()
        tick = 0
        while not leadership._stopping.is_set():
            news, leadership._deferred = leadership._deferred, None  # to run after the tick's work
            try:
                leadership.beat()
            except LeadershipLost:
                return
            finally:
                leadership._deferred = news
            yield tick
            leadership._run_deferred()
            elapsed = time.monotonic() - begin
            tick = int(elapsed // seconds) + 1
            if leadership._pause(tick * seconds - elapsed):
                return

    def __next__(self) -> int:
        return next(iter(self))

    def __aiter__(self) -> Ticks:
        return self

    async def __anext__(self) -> int:
        tick = 0
        if self._begin is None:
            self._begin = time.monotonic()
        else:
            elapsed = time.monotonic() - self._begin
            tick = int(elapsed // self._seconds) + 1
            library: Any = sys.modules[running_library() or "asyncio"]
            await library.sleep(tick * self._seconds - elapsed)
        if self._leadership._stopping.is_set():
            raise StopAsyncIteration
        try:
            self._leadership.beat()
        except LeadershipLost as error:
            raise StopAsyncIteration from error
        return tick
