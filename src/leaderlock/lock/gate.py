"""The queue of one process: of its threads and coroutines, one at a time goes on to the flock.

A lock of the ``threading`` kind would do for threads, but a wait for one cannot be called off and a
coroutine cannot wait for it. Places are handed over in the order of arrival.

Each acquisition has its `Hold` from before it enters until after it has left, and `leave` does what is
left to do for it, wherever it stands: so an exception that a signal handler raises at any instant
(KeyboardInterrupt) neither leaves the gate shut for good nor opens it for two.
"""

from __future__ import annotations

from leaderlock.kernel.threads import RLock, allocate_lock, threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.flock import Wait
    from leaderlock.lock.acquisition import Hold


class Gate:
    """Let one in at a time.

    Attributes:
        inside: the one that is in, or None.
        mutex: guards everything here.
    """

    __slots__ = ("_queue", "_unwoken", "inside", "mutex")

    def __init__(self) -> None:
        # RLock, since a signal handler may leave or enter while the main thread is half way in.
        self.mutex = RLock()
        self._queue: list[Hold] = []
        self.inside: Hold | None = None
        self._unwoken: Hold | None = None  # it has been let in, and does not know yet

    def try_enter(self, hold: Hold) -> bool:
        """Enter if nobody is inside, but one whose lock is lost."""
        with self.mutex:
            if self.inside is not None:
                self._expel_lost()
            if self.inside is not None:
                return False
            self.inside = hold
            return True

    def enter(self, hold: Hold, timeout: float | None, wait: Wait | None) -> bool:
        """Enter, blocking natively; False after `timeout` seconds or when `wait` is called off.

        A green thread waits by its hub, unless it has a `wait`: the one inside may be another green
        thread of the same hub.
        """
        hub = None
        if wait is None and threads_are_green():
            from leaderlock.kernel import green  # noqa: PLC0415  (`Gated._begin` has imported it)

            hub = green.hub_here()
        signal = allocate_lock() if hub is None else hub.event()
        if hub is None:
            signal.acquire()

        def wake() -> None:
            try:
                signal.release()
            except RuntimeError:  # granted and called off at the same moment: it is awake already
                return

        hold.wake = wake
        if self.join(hold):
            return True
        limit = -1 if timeout is None else timeout
        if wait is None:
            signal.acquire(True, limit)
        else:
            wait.blocking(lambda: signal.acquire(True, limit), wake)
        return self.inside is hold

    def join(self, hold: Hold) -> bool:
        """Enter at once (True), or queue up and be woken later."""
        with self.mutex:
            if self.try_enter(hold):
                return True
            self._queue.append(hold)
            return False

    def mend(self) -> None:
        """Have the record mended, unless the lock is just being released: the next one writes then.

        Raises:
            NotHeld: other code has closed the descriptor.
        """
        with self.mutex:
            if self.inside is not None and self.inside.is_held:
                self.inside.mend()

    def _expel_lost(self) -> None:
        """Take out a holder whose descriptor other code has closed, and the lock with it."""
        inside = self.inside
        if inside is not None and inside.is_held and not inside.is_open():
            inside.is_held = False
            self.leave(inside)

    def leave(self, hold: Hold) -> None:
        """Let go of all that the hold has: the flock, and its place inside or in the queue.

        If an exception breaks it off, the next call of anybody goes on with it.
        """
        with self.mutex:
            if hold.descriptor.fd >= 0:
                hold.close()
            if self._unwoken is hold:
                self._unwoken = None
            if self.inside is hold:
                if self._queue:
                    self.inside = self._unwoken = self._queue[0]
                    del self._queue[0]
                else:
                    self.inside = None
            elif hold in self._queue:
                self._queue.remove(hold)
            unwoken = self._unwoken
            if unwoken is not None:
                unwoken.wake()
                if self._unwoken is unwoken:  # or it has left at once, and another one was let in
                    self._unwoken = None
