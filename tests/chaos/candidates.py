"""The candidates that the machine forks: they stand by each face of the library, and take commands.

A process is forked by `zygote` and never returns to it. Its commands come through the shared page, to a
native thread, so that they need no descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import leaderlock
from leaderlock import Election, LeaderLock, LeaderLockError
from tests.chaos.marking import TICK, task_of
from tests.chaos.orders import Order
from tests.chaos.page import LEAK, Page

BACKOFF = (0.02, 0.1)
LEASE = 1.0


class Interrupted(Exception):
    """What the handler of SIGALRM raises, as a timeout does."""


class Candidate:
    """Stands in its own way, until it is asked to quit.

    Args:
        page: the shared page.
        who: its number.
        path: of the lock.
    """

    def __init__(self, page: Page, who: int, path: str) -> None:
        self.page = page
        self.who = who
        self.path = path
        self.quits = False
        self.stands = False
        self.is_armed = False
        self.children: list[int] = []
        self.dice = random.Random(f"{who} {os.getpid()}")
        page.know_self()
        self.before = (_descriptors(), _threads())

    # what a kind of candidate does in its own way

    def stand(self) -> None:
        """Stand until `quits`, in the main thread."""
        raise NotImplementedError

    def nudge(self) -> None:
        """Have `stand` look at `quits`; in the thread of the commands."""

    def resign(self) -> None:
        """Resign in good order, and stand again; in the thread of the commands."""

    def is_held(self) -> bool:
        """Whether this process says that it leads."""
        return leaderlock.current_leadership() is not None or leaderlock.is_leader()

    # signals

    def raise_at_signals(self) -> None:
        """Have handlers raise, once for each time that `is_armed` is set."""

        def interrupt(number: int, _frame: FrameType | None) -> None:
            if self.is_armed:
                self.is_armed = False
                raise KeyboardInterrupt if number == signal.SIGINT else Interrupted

        for number in (signal.SIGINT, signal.SIGALRM):
            signal.signal(number, interrupt)

    # commands

    def take_orders(self, seen: int) -> None:
        """Carry out commands; a native thread."""
        while True:
            number = self.page.wait(self.who, seen, 200)
            self._reap()
            if number == seen or not self.stands:  # a command waits until there is what it strikes
                continue
            seen = number
            command, argument = self.page.order(self.who)
            try:
                self.obey(Order(command), argument)
            except (OSError, RuntimeError, LeaderLockError):
                continue  # no descriptor or process is left for the fault itself
            if command != Order.QUIT:
                self.page.answer(self.who, seen)

    def _reap(self) -> None:
        for pid in list(self.children):
            try:
                if self.waitpid(pid, os.WNOHANG)[0]:
                    self.children.remove(pid)
            except ChildProcessError:
                self.children.remove(pid)

    def obey(self, order: Order, milliseconds: int) -> None:
        """Carry out one command."""
        seconds = milliseconds / 1000
        if order == Order.FORK:
            self._fork(seconds)
        elif order == Order.EXEC:
            os.execv("/bin/sleep", ["sleep", str(seconds)])
        elif order == Order.FORK_EXEC:
            self._fork_exec(seconds)
        elif order == Order.EMFILE:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            self.sleep(seconds)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        elif order == Order.CLOSERANGE:
            os.closerange(3, 4096)
        elif order == Order.RESIGN:
            self.resign()
        elif order == Order.QUIT:
            self.quits = True
            self.nudge()

    # What gevent has patched is replaced where it is.
    sleep = staticmethod(time.sleep)
    fork = staticmethod(os.fork)
    waitpid = staticmethod(os.waitpid)

    def _fork(self, seconds: float) -> None:
        pid = self.fork()
        if pid == 0:
            try:
                if self.is_held():
                    self.page.enter(self.who, 0, kind=2)
                self.sleep(seconds)
            finally:
                os._exit(0)
        self.children.append(pid)

    def _fork_exec(self, seconds: float) -> None:
        pid = self.fork()
        if pid == 0:
            try:
                os.execv("/bin/sleep", ["sleep", str(seconds)])
            finally:
                os._exit(127)
        self.children.append(pid)

    # the end

    def report(self) -> None:
        """Say what is left when nothing stands any more, and wait to be killed."""
        patience = time.monotonic() + 3
        while True:
            gc.collect()
            self._reap()
            now = (_descriptors(), _threads())
            is_clean = now[0] <= self.before[0] + LEAK and now[1] <= self.before[1]
            if is_clean or time.monotonic() > patience:
                break
            self.sleep(0.01)
        if os.environ.get("CHAOS_LOG"):
            os.write(2, f"{self.who} {now} {self.before} {_links()}\n".encode())
        self.page.answer(self.who, self.page.sequence(self.who), 1, *now, *self.before)
        while True:
            self.sleep(3600)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


def _links() -> list[str]:
    links = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists
            links.append(os.readlink(f"/proc/self/fd/{name}"))
    return links


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


class Thread(Candidate):
    """`Election.start`."""

    lease: float | None = None

    def stand(self) -> None:
        self.election = Election(self.path, backoff=BACKOFF, lease=self.lease)
        self.task = task_of(self.page, self.who)
        self.mutex = threading.Lock()
        self.candidate = self.begin()
        self.stands = True
        while not self.quits:
            self.wait()
        self.candidate.stop()

    def begin(self) -> leaderlock.Candidate:
        """Stand, as soon as the system lets."""
        while True:
            try:
                return self.election.start(self.task)
            except LeaderLockError:  # no descriptor, no space
                self.sleep(0.01)

    def wait(self) -> None:
        """Let some time pass."""
        time.sleep(0.05)

    def resign(self) -> None:
        self.candidate.stop()
        self.candidate = self.begin()


class Leased(Thread):
    """`Election.start` with a dead-man switch."""

    lease = LEASE


class Main(Candidate):
    """`Election.run` in the main thread, whose signal handlers raise."""

    def stand(self) -> None:
        self.election = Election(self.path, backoff=BACKOFF)
        task = task_of(self.page, self.who)
        self.raise_at_signals()
        self.stands = True
        while not self.quits:
            try:
                self.is_armed = True
                self.election.run(task)
                self.is_armed = False
            except (Interrupted, KeyboardInterrupt):
                continue
            except LeaderLockError:
                self.is_armed = False
                time.sleep(0.01)

    def nudge(self) -> None:
        self.election.ask_to_stop()

    def resign(self) -> None:
        self.election.ask_to_stop()


class Lock(Candidate):
    """`LeaderLock` in the main thread, whose signal handlers raise."""

    def stand(self) -> None:
        self.lock = LeaderLock(self.path)
        self.raise_at_signals()
        self.stands = True
        while not self.quits:
            try:
                self.is_armed = True
                self.turn()
                self.is_armed = False
            except (Interrupted, KeyboardInterrupt):
                pass
            except (LeaderLockError, TimeoutError):
                self.is_armed = False
                time.sleep(0.01)
            # `acquire` may have been broken off when it held, and `locked` says so.
            if self.lock.locked():
                with contextlib.suppress(LeaderLockError):  # closerange came in between
                    self.lock.release()

    def turn(self) -> None:
        """Hold the lock for a moment, and let the others have it."""
        way = self.dice.randrange(3)
        if way == 0:
            with self.lock:
                self.hold()
        elif way == 1:
            if self.lock.acquire(timeout=self.dice.uniform(0.005, 0.3)):
                try:
                    self.hold()
                finally:
                    self.lock.release()
        else:
            with LeaderLock(self.path, timeout=self.dice.uniform(0.005, 0.3)) as lock:
                self.hold(lock)

    def hold(self, lock: LeaderLock | None = None) -> None:
        """Mark a short term."""
        lock = lock or self.lock
        slot = self.page.enter(self.who, lock.term)
        try:
            for _ in range(self.dice.randint(1, 30)):
                lock.check()
                self.page.stamp(slot)
                time.sleep(0.002)
        finally:
            self.page.leave(slot)

    def is_held(self) -> bool:
        return self.lock.locked()


class Aio(Candidate):
    """`Election.lead` and `async with LeaderLock`, whose tasks are cancelled."""

    def stand(self) -> None:
        self.job: asyncio.Task[None] | None = None
        self.election = Election(self.path, backoff=BACKOFF)
        self.lock = LeaderLock(self.path)
        asyncio.run(self.go())

    async def go(self) -> None:
        """Have one block run after the other."""
        self.loop = asyncio.get_running_loop()
        self.stands = True
        while not self.quits:
            self.job = asyncio.ensure_future(self.lead() if self.dice.random() < 0.6 else self.hold())
            await asyncio.wait([self.job])
            if not self.job.cancelled() and self.job.exception() is not None:
                if not isinstance(self.job.exception(), LeaderLockError):
                    self.page.enter(self.who, 0, kind=3)
                await asyncio.sleep(0.01)

    async def lead(self) -> None:
        """Lead until cancelled."""
        async with self.election.lead() as leadership:
            slot = self.page.enter(self.who, leadership.term)
            try:
                async for _ in leadership.every(TICK):
                    self.page.stamp(slot)
            finally:
                self.page.leave(slot)

    async def hold(self) -> None:
        """Hold the lock for a moment."""
        async with self.lock as lock:
            slot = self.page.enter(self.who, lock.term)
            try:
                for _ in range(self.dice.randint(1, 30)):
                    lock.check()
                    self.page.stamp(slot)
                    await asyncio.sleep(0.002)
            finally:
                self.page.leave(slot)

    def nudge(self) -> None:
        self.loop.call_soon_threadsafe(self.cancel)

    def cancel(self) -> None:
        """Cancel what runs."""
        if self.job is not None:
            self.job.cancel()

    def obey(self, order: Order, milliseconds: int) -> None:
        if order == Order.CANCEL:
            self.nudge()
        else:
            super().obey(order, milliseconds)

    def is_held(self) -> bool:
        return super().is_held() or self.lock.locked()


KINDS: dict[str, type[Candidate]] = {
    "thread": Thread,
    "leased": Leased,
    "main": Main,
    "lock": Lock,
    "aio": Aio,
}


def live(kind: type[Candidate], page: Page, who: int, path: str) -> None:
    """Be a candidate, for the rest of this process's life."""
    import _thread

    seen = page.sequence(who)
    candidate = kind(page, who, path)
    begin: Callable[..., object] = getattr(candidate, "start_native", _thread.start_new_thread)
    begin(candidate.take_orders, (seen,))
    candidate.before = (candidate.before[0], candidate.before[1] + 1)
    candidate.stand()
    candidate.report()
