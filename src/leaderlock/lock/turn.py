"""One turn at a lock, for an engine, which must know its state at any instant.

Plain users do not need a turn: `LeaderLock.acquire` and ``with`` use the same parts.
"""

from __future__ import annotations

import os
import time

from leaderlock.errors import NotHeld
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.lock.gated import Hold
from leaderlock.lock.journal import AT_ONCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.leader_lock import LeaderLock


class Turn:
    """A turn, made before the lock is acquired; its owner calls `finish` whatever is raised.

    Attributes:
        lock: the lock.
        lease: seconds, for the record; None without a lease.
        term: the fencing token of the turn; known after the acquisition, like `since`, `takes_over`.
        since: the time of the acquisition, in seconds since the epoch.
        takes_over: whether another holder had the lock when the turn began to wait.
    """

    __slots__ = ("_hold", "lease", "lock", "since", "takes_over", "term")
    term: int
    since: float
    takes_over: bool

    def __init__(self, lock: LeaderLock) -> None:
        self.lock = lock
        self._hold = Hold(lock._file)
        self.lease: float | None = None

    def stand(
        self, wait: Wait | None, *, limit: float | None = None, lease: float | None = None
    ) -> bool:
        """Acquire the lock; False when the limit has passed, or if `wait` was cancelled.

        Args:
            wait: allows another thread to cancel the wait.
            limit: the longest wait in seconds; None waits without limit, 0 does not wait.
            lease: seconds, for the record.
        """
        self.lease = self.lock._file.lease = lease
        hold = self._hold
        if not self.lock._acquire(limit, wait, hold):
            return False
        self.term = hold.term
        self.since = hold.since
        self.takes_over = hold.waited > AT_ONCE
        return True

    def release(self, how: str) -> None:
        """Release the lock; raises the errors of `LeaderLock.release`.

        Args:
            how: the reason for the end, for the history.
        """
        self.lock._release(how, self._hold)

    def finish(self) -> None:
        """Release whatever the turn has, at any stage; repeatable if interrupted."""
        self.lock._finish(self._hold)

    def require_current(self) -> None:
        """Make sure that the turn holds the lock, and that the path still names the locked file.

        Raises:
            NotHeld: the turn was released, or other code has closed the descriptor.
            LockFileReplaced: the file was deleted or replaced.
            LockFileUnusable: the path cannot be read, so the state is unknown.
        """
        hold = self._hold
        if not hold.is_held:
            raise NotHeld(f"term {hold.term} of {self.lock.path} is over")
        if not hold.is_current():
            self.lock.check()

    def mend(self) -> None:
        """Write the record again if others have overwritten it, unless the lock is being released.

        Raises:
            NotHeld: other code has closed the descriptor.
        """
        with self.lock._gate.mutex:
            if self._hold.is_held:
                self._hold.mend()

    def record_beat(self) -> None:
        """Record in the history that the holder lives; raises the errors of `mend`."""
        if self._hold.is_held:
            self._hold.beat()

    def record_start(self) -> None:
        """Record the turn in the history, unless it is there: the next holder would have to do it."""
        with self.lock._gate.mutex:  # no other thread may record the end meanwhile
            if self._hold.is_held and not self._hold.is_journalled:
                self._hold.journal()

    def record_end(self, how: str) -> None:
        """Record in the history the reason for the turn's coming end."""
        with self.lock._gate.mutex:
            if self._hold.is_held:
                self._hold.journal(time.time(), how)

    def end_lease(self) -> None:
        """Record in the history that the lease has ended, and no further beats are due."""
        self.lock._file.lease = None
        self.record_beat()


def require_usable(lock: LeaderLock) -> None:
    """Raise the errors that an acquisition would raise for the file, without waiting."""
    lock._own_gate()
    descriptor = Descriptor()
    try:
        lock._file.open(descriptor)
    finally:
        descriptor.close()


def forget_what_is_known(lock: LeaderLock) -> None:
    """Have the next acquisition run as in a forked child, where the lock is new; for a rehearsal."""
    lock._pid = 0
    lock._file.last_written, lock._file.journalled = (b"", 0), 0
    lock._file.has_opened = False


def are_same(one: LeaderLock, other: LeaderLock) -> bool:
    """Whether both objects name the same lock, by the arguments that made them."""
    mine, others = one._file, other._file
    if mine is others or not mine.has_path or mine.is_named != others.is_named:
        return mine is others
    # A name has one path for each user, and a worker may be about to change its user.
    return mine.name == others.name if mine.is_named else mine.path == others.path


def is_called(lock: LeaderLock, name: str) -> bool:
    """Whether a held lock has this name, or this path in any spelling."""
    if name == lock.path or (name == lock._file.name and lock._file.is_named):
        return True
    try:
        return os.path.samestat(os.stat(name), os.fstat(lock.fileno()))
    except (OSError, ValueError, NotHeld):  # ENOENT; no valid path; resigned meanwhile
        return False
