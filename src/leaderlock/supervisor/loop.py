"""Signals, timers and readable descriptors in one poll(2), which never wakes up for nothing."""

from __future__ import annotations

import heapq
import os
import select
import time

from leaderlock.kernel import early
from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

_NEVER_IGNORED = (*IGNORED_BY_PYTHON, signal.SIGCHLD)

_LONGEST_POLL = 1e9
"""Milliseconds: poll(2) takes an int. A timer beyond that costs one more wakeup in eleven days."""

_PIPE_SIZE = 65536


class LoopTimer:
    """A call that is due at a time of the monotonic clock, until it is cancelled."""

    __slots__ = ("cancelled", "due", "function")

    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due = due
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call it."""
        self.cancelled = True

    def left(self) -> float:
        """Seconds until it is due."""
        return max(self.due - time.monotonic(), 0)

    def __lt__(self, other: LoopTimer) -> bool:
        return self.due < other.due


class Loop:
    """Calls back, in the main thread, for what happens; nothing else runs in between."""

    def __init__(self) -> None:
        self._stopped = False
        self._timers: list[LoopTimer] = []
        self._tidy_at = 64
        self._readers: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._signals, self._signals_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._unread: set[int] = set()
        self._on_signal: Callable[[int], None] = _ignore

    def on_signals(self, numbers: Iterable[int], callback: Callable[[int], None]) -> None:
        """Have `callback` called with the number of each signal that arrives."""
        # First: of a signal whose handler was set before, nothing would come.
        signal.set_wakeup_fd(self._signals_in, warn_on_full_buffer=False)
        for number in numbers:
            # What was ignored when we started stays so, here and in the command: nohup(1)'s SIGHUP.
            # But not SIGCHLD: the kernel would then take in our children itself, status and all.
            if signal.getsignal(number) != signal.SIG_IGN or number in _NEVER_IGNORED:
                signal.signal(number, self._notice)
        if arrived := early.arrived():
            os.write(self._signals_in, bytes(arrived))
        # A parent may have started us with some of them blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        self._on_signal = callback
        self._poll.register(self._signals, select.POLLIN)  # `run` reads it in every round

    def _read_signals(self) -> None:
        try:
            numbers = os.read(self._signals, _PIPE_SIZE)
        except BlockingIOError:
            return
        self._unread.difference_update(numbers)
        if len(numbers) == _PIPE_SIZE:  # it was full: what came then is not in it
            numbers += bytes(self._unread)
            self._unread.clear()
        # SIGCHLD last: of two that are pending, the kernel runs the later one's handler first, and a
        # stop that was asked for before the command ended must count.
        for number in sorted(merged(numbers), key=lambda number: number == signal.SIGCHLD):
            self._on_signal(number)

    def unread_signals(self) -> list[int]:
        """Take those that have arrived and were not called back, after an exception."""
        numbers = set(self._unread)
        self._unread.clear()
        try:
            numbers.update(os.read(self._signals, _PIPE_SIZE))
        except OSError:  # EAGAIN: all were
            pass
        return sorted(numbers)

    def _notice(self, number: int, _frame: object) -> None:
        """Python's handler: its C part has written the number to the pipe, or found that full.

        It comes later than that, and once for several of a number; but it comes for each number.
        """
        self._unread.add(number)

    def on_readable(self, fd: int, callback: Callable[[], None]) -> None:
        """Have `callback` called whenever the descriptor can be read, or is at its end."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Watch the descriptor no more."""
        del self._readers[fd]
        self._poll.unregister(fd)

    def call_later(self, seconds: float, function: Callable[[], None]) -> LoopTimer:
        """Call a function in so many seconds."""
        timer = LoopTimer(time.monotonic() + seconds, function)
        if len(self._timers) >= self._tidy_at:  # else each beat of a watchdog would leave one behind
            self._timers = [timer for timer in self._timers if not timer.cancelled]
            heapq.heapify(self._timers)
            self._tidy_at = 2 * len(self._timers) + 64
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """Let `run` return when what has happened by now has been called back."""
        self._stopped = True

    def run(self) -> None:
        """Wait and call back, until `stop`, which may have been called already."""
        while not self._stopped:
            ready = self._poll.poll(self._milliseconds_to_next_timer())
            # A signal's byte may have been written after the kernel had looked what is ready, and the
            # signal may have been sent before that.
            self._read_signals()
            for fd, _ in ready:
                if fd in self._readers:  # else another callback of this round has forgotten it
                    self._readers[fd]()
            self._call_due_timers()
        self._stopped = False

    def _milliseconds_to_next_timer(self) -> float | None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return min(self._timers[0].left() * 1000, _LONGEST_POLL)

    def _call_due_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].due <= now:
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                timer.function()


def merged(numbers: bytes) -> list[int]:
    """The signals to act upon, of those that have arrived since the last look, in order.

    An ordinary signal that came several times counts once, where it came last: so it is with one that
    is pending (signal(7)), and a storm of them is dealt with before the pipe is full. Real-time signals
    are queued, and each of them counts.
    """
    last = {number: place for place, number in enumerate(numbers)}
    return [
        number
        for place, number in enumerate(numbers)
        if place == last[number] or number >= signal.SIGRTMIN
    ]


def _ignore(_number: int) -> None:
    """Before anybody asks for signals, none comes."""
