"""The candidate that gevent has patched; imported by the zygote of such candidates alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, SupportsIndex

import gevent
from gevent import monkey

from leaderlock import LeaderLock, LeaderLockError
from tests.chaos.candidates import Thread
from tests.chaos.orders import Order

_sleep: Callable[[float | SupportsIndex], None] = monkey.get_original("time", "sleep")
_fork: Callable[[], int] = monkey.get_original("os", "fork")
_waitpid: Callable[[int, int], tuple[int, int]] = monkey.get_original("os", "waitpid")
_start: Callable[..., object] = monkey.get_original("_thread", "start_new_thread")


class Green(Thread):
    """`Election.start` in a patched process, and green threads that give up a wait."""

    sleep = staticmethod(_sleep)
    fork = staticmethod(_fork)
    waitpid = staticmethod(_waitpid)

    @staticmethod
    def start_native(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        """Start a native thread."""
        _start(function, arguments)

    def stand(self) -> None:
        self.asked: list[tuple[Order, int]] = []
        super().stand()

    def wait(self) -> None:
        """Let the hub run; carry out, in a green thread, what the native thread was told."""
        gevent.sleep(0.005)
        while self.asked:
            order, milliseconds = self.asked.pop()
            if order == Order.RESIGN:
                super().resign()
            else:
                gevent.spawn(self.give_up, milliseconds / 1000)

    def give_up(self, seconds: float) -> None:
        """Wait for the lock in a green thread that is killed meanwhile, or after it has the lock."""
        waiting = gevent.spawn(self.hold_lock)
        gevent.sleep(seconds)
        waiting.kill()

    def hold_lock(self) -> None:
        """Hold the lock for a moment."""
        try:
            with LeaderLock(self.path) as lock:
                slot = self.page.enter(self.who, lock.term)
                try:
                    for _ in range(20):
                        lock.check()
                        self.page.stamp(slot)
                        gevent.sleep(0.002)
                finally:
                    self.page.leave(slot)
        except LeaderLockError:
            return

    def resign(self) -> None:
        """Resign in the hub's thread."""
        self.asked.append((Order.RESIGN, 0))

    def obey(self, order: Order, milliseconds: int) -> None:
        if order == Order.GREEN:
            self.asked.append((order, milliseconds))
        else:
            super().obey(order, milliseconds)

    def report(self) -> None:
        # The hub keeps what it has opened: it was not there when the process began.
        hub = gevent.get_hub()
        hub.threadpool.kill()
        self.before = (self.before[0] + 6, self.before[1] + 1)
        super().report()
