"""A native thread that runs one function, and whose end other threads can await."""

from __future__ import annotations

from leaderlock.kernel.threads import (
    TIMEOUT_MAX,
    allocate_lock,
    get_ident,
    start_thread,
    start_thread_without_signals,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class NativeThread:
    """A thread that runs a function once; it is native also where gevent or eventlet has patched.

    `wait` blocks the caller's native thread. A function whose caller has an event loop or a hub reports
    to that in its own way, for example by a pipe, before it returns; `wait` is then short.

    Args:
        function: the thread calls it.
        tell: called in the thread after the function has returned; from then on `wait` does not block.
        takes_signals: whether signals may be delivered to the thread, and to the processes that the
            function starts, which inherit its mask. Otherwise it blocks every signal: a signal would
            interrupt a wait for a lock, and so lose its place in the queue.
    """

    __slots__ = ("_ended", "_function", "_started", "_takes_signals", "_tell")

    def __init__(
        self,
        function: Callable[[], object],
        tell: Callable[[], object] | None = None,
        *,
        takes_signals: bool = False,
    ) -> None:
        self._function: Callable[[], object] | None = function
        self._tell = tell
        self._takes_signals = takes_signals
        self._started: list[int] = []
        self._ended = allocate_lock()
        self._ended.acquire()

    def start(self) -> None:
        """Start the thread, at most once; `has_started` is right also if a signal handler raises.

        Raises:
            NoThreadLeft: the system starts no more threads.
        """
        start = start_thread if self._takes_signals else start_thread_without_signals
        start(self._run, started=self._started)

    @property
    def has_started(self) -> bool:
        """Whether the thread was started; it may have ended since."""
        return bool(self._started)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the function has ended, for at most so many seconds; return whether it has.

        Returns True at once if the thread was not started, and in the thread itself.
        """
        if not self._started or get_ident() in self._started:
            return True
        limit = -1 if seconds is None else min(max(seconds, 0), TIMEOUT_MAX)
        if not self._ended.acquire(True, limit):
            return False
        self._ended.release()  # for others that wait, and for the next call
        return True

    def _run(self) -> None:
        # Let go of the function: its object may own this thread, and the two would be a circle.
        function, self._function = self._function, None
        assert function is not None
        try:
            function()
        finally:
            self._ended.release()
        if self._tell is not None:
            self._tell()
