"""The ways to use a lock that `benchmarks.interrupts` breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time

from leaderlock import Election, LeaderLock, Leadership

ASYNC_PATIENCE = 0.1
"""Seconds that a broken loop's tasks get to end."""


class Hit(KeyboardInterrupt):
    """What the handler raises: asyncio would swallow any other exception inside its own callbacks."""


def is_hit(error: BaseException) -> bool:
    """Whether an error is a `Hit`, or what CPython or asyncio make of one."""
    return (
        isinstance(error, Hit | SystemError)  # CPython 3.10, hit again while it makes the `Hit`
        # asyncio's own, when its loop was hit.
        or (isinstance(error, RuntimeError) and isinstance(error.__context__, Hit))
    )


class Surface:
    """One way to use a lock.

    Attributes:
        lock, other: what may be held after a hit.
        may_hold: whether that is allowed, if the lock knows it.
        longest: seconds within which a random hit comes.
    """

    may_hold = False
    longest = 6e-4

    def __init__(self, path: str) -> None:
        self.lock = self.other = LeaderLock(path)

    def use(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        """What the program does after a hit, undisturbed."""

    def close(self) -> None:
        """Let go of what it has open."""


class With(Surface):
    def use(self) -> None:
        with self.lock:
            pass


class Acquire(Surface):
    """A hit just after it returns leaves the lock held, and known to be: as with `threading.Lock`."""

    may_hold = True

    def use(self) -> None:
        self.lock.acquire()
        self.lock.release()


class AcquireTimeout(Surface):
    may_hold = True

    def use(self) -> None:
        self.lock.acquire(timeout=5)
        self.lock.release()


class Contended(Surface):
    """The timed wait, with its timer's thread, for a lock that another object holds."""

    may_hold = True
    longest = 3e-3

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.other = LeaderLock(path)

    def use(self) -> None:
        self.other.acquire()
        try:
            self.lock.acquire(timeout=0.001)
        finally:
            self.other.release()


class Queued(Surface):
    """The timed wait for a lock that this very object holds, at the gate of the process."""

    may_hold = True
    longest = 3e-3

    def use(self) -> None:
        self.lock.acquire()
        try:
            self.lock.acquire(timeout=0.001)
        finally:
            self.lock.release()


class Run(Surface):
    longest = 2e-3

    def __init__(self, path: str) -> None:
        self.election = Election(path, on_return="resign")
        self.lock = self.other = self.election.lock

    def use(self) -> None:
        self.election.run(_task)


def _task(leadership: Leadership) -> None:
    leadership.wait(0)


class AsyncWith(Surface):
    """With a new loop after each hit: asyncio's own code loses a task's next step if it is hit there.

    Such a task never ends, even cancelled. The loop runs on for a moment and is closed; the tasks
    are collected.
    """

    longest = 2e-3

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.loop = asyncio.new_event_loop()

    def use(self) -> None:
        self.loop.run_until_complete(self.main())

    def mend(self) -> None:
        loop, self.loop = self.loop, asyncio.new_event_loop()
        end_loop(loop)
        del loop
        gc.collect()

    def close(self) -> None:
        self.loop.close()

    async def main(self) -> None:
        for _ in range(5):
            async with self.lock:
                await asyncio.sleep(0)


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in a loop, as `asyncio.run` does, but for a limited time; close the loop."""
    asyncio._set_running_loop(None)  # hit as it began or ended to run, it takes itself to be running
    loop._thread_id = None  # type: ignore[attr-defined]
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    deadline = time.monotonic() + ASYNC_PATIENCE
    while not all(task.done() for task in tasks) and time.monotonic() < deadline:
        loop.call_later(0.002, loop.stop)
        with contextlib.suppress(Hit):  # a task that was hit raises it once more
            loop.run_forever()
    loop.close()


class Lead(AsyncWith):
    longest = 5e-3

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.election = Election(path)
        self.lock = self.other = self.election.lock

    async def main(self) -> None:
        async with self.election.lead():
            await asyncio.sleep(0)


SURFACES: dict[str, type[Surface]] = {
    "with": With,
    "acquire": Acquire,
    "acquire-timeout": AcquireTimeout,
    "contended": Contended,
    "queued": Queued,
    "run": Run,
    "async-with": AsyncWith,
    "lead": Lead,
}
