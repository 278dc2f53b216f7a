"""Waits for the election beside the event loop: a thread blocks, and reports to the loop by a pipe."""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError, NotHeld
from leaderlock.kernel.native_thread import NativeThread
from leaderlock.kernel.wait import Wait, share_signal
from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Tenure
    from leaderlock.supervisor.loop import Loop


class Conflict(LeaderLockError):
    """The lock could not be acquired in the time given."""


class Ended(LeaderLockError):
    """A signal ended the wait for the lock."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


class LockWait:
    """One wait of a tenure for its election, during which the loop still handles signals and children.

    Args:
        loop: runs `done` when the thread has written to its pipe.
        tenure, limit: stands, for so many seconds at most; None for ever, 0 does not wait.
        done: called when the wait is over.
        before_parking: called, in another thread, if another process leads.
    """

    def __init__(
        self,
        loop: Loop,
        tenure: Tenure,
        limit: float | None,
        done: Callable[[], None],
        before_parking: Callable[[], None],
    ) -> None:
        self.acquired = False
        self.error: Exception | None = None
        self._loop = loop
        self._done = done
        self._wait = Wait(before_parking)
        self._thread = NativeThread(self._park)
        self._done_reader, self._done_writer = os.pipe2(os.O_CLOEXEC)
        loop.on_readable(self._done_reader, self._end)
        self._tenure = tenure
        self._limit = limit

    def begin(self) -> None:
        """Begin to wait. Afterwards `abandon` ends the wait, even if this call raised an exception."""
        # The loop's handler does no harm, so the wait may be interrupted by a signal of the loop's.
        share_signal()
        self._thread.start()

    def _park(self) -> None:
        try:
            self.acquired = self._tenure.stand(self._wait, limit=self._limit)
        except Exception as error:  # noqa: BLE001  (passed to the loop's thread)
            self.error = error
        finally:
            os.write(self._done_writer, b".")

    def _end(self) -> None:
        self._loop.forget(self._done_reader)
        self._thread.wait()
        os.close(self._done_reader)
        os.close(self._done_writer)
        self._done()

    def require_acquired(self, ended_by: int) -> None:
        """Raise why the tenure does not lead after the wait.

        Args:
            ended_by: the signal that has ended the wait, or 0.
        """
        if self.error is not None:
            raise self.error
        if ended_by:
            raise Ended(ended_by)
        if not self.acquired:
            raise Conflict

    def abandon(self) -> None:
        """After an exception in the loop: leave the queue, and wait until the thread has left it."""
        self._wait.cancel()
        self._thread.wait()

    def cancel(self) -> None:
        """Leave the queue; the pipe reports to the loop when that has happened."""
        self._wait.cancel()


def let_go(tenure: Tenure, how: str) -> None:
    """Release whatever the tenure has, and log a failure; repeatable if interrupted.

    Args:
        how: the word that the history records for the end of the term.
    """
    try:
        tenure.resign(how)
    except NotHeld:  # its wait was called off, or the election is lost
        pass
    except LeaderLockError as error:
        say(str(error))
    tenure.finish()
