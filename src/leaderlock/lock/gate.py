"""The queue of one process: its threads and coroutines go on to the flock one at a time.

A `threading.Lock` would be enough for threads, but a wait for one cannot be cancelled, and a coroutine
cannot wait for one. Places are handed over in the order of arrival.

Each acquisition has its `Hold` from before it enters until after it has left, and `leave` does the
remaining steps from any point. So an exception that a signal handler raises at any instant
(KeyboardInterrupt) neither leaves the gate shut for good nor admits two holders.
"""

from __future__ import annotations

from leaderlock.kernel.threads import RLock, allocate_lock, threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.acquisition import Hold


class Gate:
    """Admits one hold at a time.

    Attributes:
        inside: the hold that is inside, or None.
        mutex: guards all attributes of the gate.
    """

    __slots__ = ("_queue", "_unwoken", "inside", "mutex")

    def __init__(self) -> None:
        # RLock: a signal handler may leave or enter while the main thread is just entering.
        self.mutex = RLock()
        self._queue: list[Hold] = []
        self.inside: Hold | None = None
        self._unwoken: Hold | None = None  # admitted, but not woken yet

    def try_enter(self, hold: Hold) -> bool:
        """Enter if the gate is empty, or if the hold inside has lost its lock."""
        with self.mutex:
            if self.inside is not None:
                self._expel_lost()
            if self.inside is not None:
                return False
            self.inside = hold
            return True

    def enter(self, hold: Hold, timeout: float | None, wait: Wait | None) -> bool:
        """Enter, blocking natively; False after `timeout` seconds or when `wait` is cancelled.

        A green thread without a `wait` waits in its hub: the hold inside may belong to another green
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
            except RuntimeError:  # granted and cancelled at the same moment: already awake
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
        """Enter at once (True), or queue up (False): `hold.wake` is called later."""
        with self.mutex:
            if self.try_enter(hold):
                return True
            self._queue.append(hold)
            return False

    def _expel_lost(self) -> None:
        """Remove the hold inside if other code has closed its descriptor: its lock is lost."""
        inside = self.inside
        if inside is not None and inside.is_held and not inside.is_open():
            inside.is_held = False
            self.leave(inside)

    def leave(self, hold: Hold) -> None:
        """Release all that the hold has: the flock, and its place inside or in the queue.

        If an exception interrupts `leave`, the next call, for any hold, does the remaining steps.
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
                if self._unwoken is unwoken:  # not if it left at once and another hold was admitted
                    self._unwoken = None
