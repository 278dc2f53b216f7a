"""Exceptions that a signal handler raises at random instants: nothing may be held, leaked or hung then.

    python -m benchmarks.interrupts [--hits 100000] [--only with ...]

Each surface is used over and over while SIGALRM comes at random instants, once or twice in a row, and
its handler raises. After each hit the lock must be free for another object (or known to be held, after
`acquire`), and in the end no descriptor and no thread may be left. `tests/test_interrupts.py` runs it
with fewer hits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from leaderlock import Election, LeaderLock, Leadership

PATIENCE = 30.0
"""Seconds that a lock may take to be free, and a process to have no thread left."""


ASYNC_PATIENCE = 0.1
"""Seconds that a broken loop's tasks get to end."""


class Hit(KeyboardInterrupt):
    """What the handler raises: asyncio would swallow any other exception inside its own callbacks."""


class Storm:
    """Raises at random instants of a block; twice for some, the second time soon after the first."""

    def __init__(self) -> None:
        self.armed = False
        self._again = 0.0
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, *_: object) -> None:
        if not self.armed:
            return
        again, self._again = self._again, 0.0  # first: it may come before this returns
        if again:
            signal.setitimer(signal.ITIMER_REAL, again)
        raise Hit

    def strike(self, action: Callable[[], object], longest: float) -> bool:
        """Run something; whether it was hit."""
        self._again = random.choice((0, 0, 1e-6, 2e-5, 1e-4))
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest))
                self.armed = True
                action()
            finally:
                self.armed = False
        except (Hit, SystemError):  # SystemError: CPython 3.10, hit again while it makes the `Hit`
            return True
        except RuntimeError as error:  # asyncio's own, when its loop was hit
            if not isinstance(error.__context__, Hit):
                raise
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


class Surface:
    """One way to use a lock."""

    may_hold = False
    longest = 6e-4

    def __init__(self, path: str) -> None:
        self.lock = LeaderLock(path)

    def use(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        """What the program does after a hit, undisturbed."""


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


class Run(Surface):
    longest = 2e-3

    def __init__(self, path: str) -> None:
        self.election = Election(path, on_return="resign")
        self.lock = self.election.lock

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
        asyncio._set_running_loop(None)  # a hit at the end of `run_forever` leaves it set
        end_loop(loop)
        del loop
        gc.collect()

    async def main(self) -> None:
        for _ in range(5):
            async with self.lock:
                await asyncio.sleep(0)


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left in a loop, as `asyncio.run` does, but for a limited time; close the loop."""
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
        self.lock = self.election.lock

    async def main(self) -> None:
        async with self.election.lead():
            await asyncio.sleep(0)


SURFACES: dict[str, type[Surface]] = {
    "with": With,
    "acquire": Acquire,
    "acquire-timeout": AcquireTimeout,
    "contended": Contended,
    "run": Run,
    "async-with": AsyncWith,
    "lead": Lead,
}


class Result:
    """What became of the hits on one surface."""

    def __init__(self) -> None:
        self.hits = 0
        self.held = 0
        self.descriptors = 0
        self.threads = 0

    def __str__(self) -> str:
        return (
            f"{self.hits} hits, held afterwards {self.held}, descriptors left {self.descriptors}, "
            f"threads left {self.threads}"
        )


def measure(name: str, hits: int, directory: str) -> Result:
    """Hit one surface so many times."""
    logging.disable(logging.CRITICAL)
    path = os.path.join(directory, f"{name}.lock")
    surface = SURFACES[name](path)
    probe = LeaderLock(path)
    storm = Storm()
    Contended(path).use()  # which opens what a process keeps: the decoy of a wait that is called off
    surface.use()
    result = Result()
    descriptors, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    while result.hits < hits:
        if not storm.strike(surface.use, surface.longest):
            continue
        result.hits += 1
        surface.mend()
        for lock in [surface.lock, getattr(surface, "other", surface.lock)]:
            if surface.may_hold:
                if lock.locked():
                    lock.release()
            elif not _is_free(lock):
                result.held += 1
                lock.release()
        if not probe.acquire(timeout=PATIENCE):
            result.held += 1
            break
        probe.release()
    result.descriptors = _left("/proc/self/fd", descriptors)
    result.threads = _left("/proc/self/task", threads)
    return result


def _is_free(lock: LeaderLock) -> bool:
    """Soon: after two hits in a row, a native thread finishes what they have broken off."""
    deadline = time.monotonic() + 1
    while lock.locked() and time.monotonic() < deadline:
        time.sleep(0.0001)
    return not lock.locked()


def _left(directory: str, before: int) -> int:
    deadline = time.monotonic() + PATIENCE
    while (left := max(len(os.listdir(directory)) - before, 0)) > 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hits", type=int, default=100_000)
    parser.add_argument("--only", choices=SURFACES, action="append")
    arguments = parser.parse_args()
    bad = 0
    version = ".".join(map(str, sys.version_info[:3]))
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.only or SURFACES:
            began = time.monotonic()
            result = measure(name, arguments.hits, directory)
            print(f"{version} {name}: {result}, {time.monotonic() - began:.0f} s", flush=True)
            bad += result.held + result.descriptors + result.threads
    assert threading.active_count() == 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
