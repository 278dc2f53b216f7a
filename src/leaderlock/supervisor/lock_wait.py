"""Waits for the lock beside the event loop: a thread blocks, and reports to the loop by a pipe."""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError
from leaderlock.kernel.flock import INTERRUPTING_SIGNALS, share_signal
from leaderlock.kernel.signals import signal
from leaderlock.kernel.threads import allocate_lock, start_new_thread
from leaderlock.kernel.wait import Wait
from leaderlock.lock.turn import acquire_for, release_as
from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.lock.leader_lock import LeaderLock
    from leaderlock.supervisor.loop import Loop


class Conflict(LeaderLockError):
    """The lock could not be acquired in the time given."""


class Ended(LeaderLockError):
    """A signal ended the wait for the lock."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class LockWait:
    """One wait for a lock, during which the loop still handles signals and children.

    Args:
        loop: runs `done` when the thread has written to its pipe.
        lock, limit: the lock, and the longest wait in seconds; None for ever, 0 does not wait.
        done: called when the wait is over.
        before_parking: called, in another thread, if the lock is not free.
    """

    def __init__(
        self,
        loop: Loop,
        lock: LeaderLock,
        limit: float | None,
        done: Callable[[], None],
        before_parking: Callable[[], None],
    ) -> None:
        self.acquired = False
        self.error: Exception | None = None
        self._loop = loop
        self._done = done
        self._wait = Wait(before_parking)
        self._ended = allocate_lock()
        self._done_reader, self._done_writer = os.pipe2(os.O_CLOEXEC)
        loop.on_readable(self._done_reader, self._end)
        self._lock = lock
        self._limit = limit

    def begin(self) -> None:
        """Begin to wait. Afterwards `abandon` ends the wait, even if this call raised an exception."""
        # The loop's handler does no harm, so the wait may use the same signal to interrupt flock(2).
        share_signal(INTERRUPTING_SIGNALS[0])
        # Signals go to the main thread: each one would take a waiting thread out of the lock's queue.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._ended.acquire()
            start_new_thread(self._park, (self._lock, self._limit))
        except RuntimeError:  # the system has no thread left
            self._ended.release()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _park(self, lock: LeaderLock, limit: float | None) -> None:
        try:
            self.acquired = acquire_for(lock, limit, self._wait)
        except Exception as error:  # noqa: BLE001  (passed to the loop's thread)
            self.error = error
        finally:
            os.write(self._done_writer, b".")
            self._ended.release()

    def _end(self) -> None:
        self._loop.forget(self._done_reader)
        with self._ended:
            pass
        os.close(self._done_reader)
        os.close(self._done_writer)
        self._done()

    def abandon(self) -> None:
        """After an exception in the loop: leave the queue, and wait until the thread has left it."""
        self._wait.cancel()
        with self._ended:
            pass

    def cancel(self) -> None:
        """Leave the queue; the pipe reports to the loop when that has happened."""
        self._wait.cancel()


def let_go(lock: LeaderLock, how: str) -> None:
    """Release the lock, and log a failure.

    Args:
        how: the word that the history records for the end of the term.
    """
    try:
        release_as(lock, how)
    except LeaderLockError as error:
        say(str(error))
