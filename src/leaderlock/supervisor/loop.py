"""Signals, timers and readable descriptors in one poll(2), which wakes up only for an event."""

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
"""Milliseconds, since poll(2) takes an int. A later timer costs one more wakeup every eleven days."""

_PIPE_SIZE = 65536


class LoopTimer:
    """A call that is due at a time of the monotonic clock, until it is cancelled."""

    __slots__ = ("cancelled", "due", "function")

    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due = due
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call the function."""
        self.cancelled = True

    def left(self) -> float:
        """Seconds until the timer is due."""
        return max(self.due - time.monotonic(), 0)

    def __lt__(self, other: LoopTimer) -> bool:
        return self.due < other.due


class Loop:
    """Calls functions in the main thread when events happen, one at a time."""

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
        # Before the handlers: a signal that arrived between the two calls would not wake the loop.
        signal.set_wakeup_fd(self._signals_in, warn_on_full_buffer=False)
        for number in numbers:
            # A signal that was ignored when we started stays ignored, here and in the command
            # (nohup(1)). But not SIGCHLD: the kernel would reap our children and drop their status.
            if signal.getsignal(number) != signal.SIG_IGN or number in _NEVER_IGNORED:
                signal.signal(number, self._notice)
        if arrived := early.arrived():
            os.write(self._signals_in, bytes(arrived))
        # A parent may have started us with some of these signals blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        self._on_signal = callback
        self._poll.register(self._signals, select.POLLIN)  # `run` reads it in every round

    def _read_signals(self) -> None:
        try:
            numbers = os.read(self._signals, _PIPE_SIZE)
        except BlockingIOError:
            return
        self._unread.difference_update(numbers)
        if len(numbers) == _PIPE_SIZE:  # the pipe was full: later signals are only in `_unread`
            numbers += bytes(self._unread)
            self._unread.clear()
        # SIGCHLD last: if two signals are pending, the kernel runs the later one's handler first, and a
        # stop that was asked for before the command ended must count.
        for number in sorted(merged(numbers), key=lambda number: number == signal.SIGCHLD):
            self._on_signal(number)

    def unread_signals(self) -> list[int]:
        """After an exception: take the signals that arrived but were not called back."""
        numbers = set(self._unread)
        self._unread.clear()
        try:
            numbers.update(os.read(self._signals, _PIPE_SIZE))
        except OSError:  # EAGAIN: the pipe is empty
            pass
        return sorted(numbers)

    def _notice(self, number: int, _frame: object) -> None:
        """Python's handler: its C part has written the number to the pipe, or found the pipe full.

        Python calls this later than the C part, at least once for each number that arrived.
        """
        self._unread.add(number)

    def on_readable(self, fd: int, callback: Callable[[], None]) -> None:
        """Have `callback` called whenever the descriptor is readable or at end of file."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching the descriptor."""
        del self._readers[fd]
        self._poll.unregister(fd)

    def call_later(self, seconds: float, function: Callable[[], None]) -> LoopTimer:
        """Call a function after this many seconds."""
        timer = LoopTimer(time.monotonic() + seconds, function)
        if len(self._timers) >= self._tidy_at:  # each beat of a watchdog cancels one timer
            self._timers = [timer for timer in self._timers if not timer.cancelled]
            heapq.heapify(self._timers)
            self._tidy_at = 2 * len(self._timers) + 64
        heapq.heappush(self._timers, timer)
        return timer

    def stop(self) -> None:
        """Let `run` return after it has called back for all events of this round."""
        self._stopped = True

    def run(self) -> None:
        """Wait and call back until `stop` is called; return at once if `stop` was called before."""
        while not self._stopped:
            ready = self._poll.poll(self._milliseconds_to_next_timer())
            # Read in every round: a signal may be sent before poll(2) looks, and its byte written
            # only afterwards.
            self._read_signals()
            for fd, _ in ready:
                if fd in self._readers:  # another callback may have called `forget`
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
    """The signals to act on, of those that have arrived since the last look, in order.

    An ordinary signal that came several times counts once, at its last place. A pending signal behaves
    the same (signal(7)), and a burst of signals is handled before the pipe is full. Real-time signals
    are queued, and each of them counts.
    """
    last = {number: place for place, number in enumerate(numbers)}
    return [
        number
        for place, number in enumerate(numbers)
        if place == last[number] or number >= signal.SIGRTMIN
    ]


def _ignore(_number: int) -> None:
    """Stand in for the callback until `on_signals` sets one."""
