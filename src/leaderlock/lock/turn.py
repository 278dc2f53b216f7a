"""One turn at a lock, of a caller that must know at any instant what it has: an election, a supervisor.

Plain users need none of it: `LeaderLock.acquire` and ``with`` are made of the same parts.
"""

from __future__ import annotations

import os
import time

from leaderlock.errors import NotHeld
from leaderlock.lock.gated import Hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.flock import Wait
    from leaderlock.lock.leader_lock import LeaderLock


class Turn:
    """It is made before the lock is acquired, and its owner calls `finish` whatever is raised."""

    __slots__ = ("_hold", "lock")

    def __init__(self, lock: LeaderLock) -> None:
        self.lock = lock
        self._hold = Hold(lock._file)

    @property
    def term(self) -> int:
        """The fencing token of the turn, once it was acquired."""
        return self._hold.term

    @property
    def since(self) -> float:
        """When it was acquired, in seconds since the epoch."""
        return self._hold.since

    @property
    def waited(self) -> float:
        """For how many seconds others held the lock meanwhile."""
        return self._hold.waited

    def acquire(self, limit: float | None, wait: Wait | None, lease: float | None) -> bool:
        """Acquire the lock; False when the limit has passed, or if `wait` was called off.

        Args:
            limit: the longest wait in seconds; None without end, 0 for none at all.
            wait: by which it can be called off.
            lease: for the record, in seconds.
        """
        self.lock._file.lease = lease
        return self.lock._acquire(limit, wait, self._hold)

    def release(self, how: str) -> None:
        """Release it; raises as `LeaderLock.release` does.

        Args:
            how: what the history says of the end.
        """
        self.lock._release(how, self._hold)

    def finish(self) -> None:
        """Let go of whatever it has, however far it has come; again, if that was broken off."""
        self.lock._finish(self._hold)

    def require_current(self) -> None:
        """Make sure that it holds, and that the path still names the locked file.

        Raises:
            NotHeld: it was released, or other code has closed the descriptor.
            LockFileReplaced: the file was deleted or replaced.
            LockFileUnusable: the path cannot be looked at: nothing is known.
        """
        hold = self._hold
        if not hold.is_held:
            raise NotHeld(f"term {hold.term} of {self.lock.path} is over")
        if not hold.is_current():
            self.lock.check()

    def mend(self) -> None:
        """Write the record again if others have overwritten it, unless it is just being released.

        Raises:
            NotHeld: other code has closed the descriptor.
        """
        with self.lock._gate.mutex:
            if self._hold.is_held:
                self._hold.mend()

    def record_beat(self) -> None:
        """Note in the history that the holder lives; raises as `mend` does."""
        if self._hold.is_held:
            self._hold.beat()

    def record_start(self) -> None:
        """Note the turn in the history, if that is not done: the next holder would have to do it."""
        with self.lock._gate.mutex:  # nobody notes the end meanwhile, in another thread
            if self._hold.is_held and not self._hold.is_journalled:
                self._hold.journal()

    def record_end(self, how: str) -> None:
        """Note in the history how the turn is about to end."""
        with self.lock._gate.mutex:
            if self._hold.is_held:
                self._hold.journal(time.time(), how)

    def end_lease(self) -> None:
        """Note that nobody beats from here on."""
        self.lock._file.lease = None
        self.record_beat()


def acquire_for(lock: LeaderLock, limit: float | None, wait: Wait) -> bool:
    """`LeaderLock.acquire`, which another thread can call off by `wait`; no limit if None."""
    return lock._acquire(limit, wait)


def release_as(lock: LeaderLock, how: str) -> None:
    """`LeaderLock.release`, with what the history is to say of the end."""
    lock._release(how)


def mend_record(lock: LeaderLock) -> None:
    """Write the record of a held lock again if others have overwritten it; `NotHeld` if it is lost."""
    lock._gate.mend()


def require_usable(lock: LeaderLock) -> None:
    """Raise what an acquisition would raise for the file, without waiting for anything."""
    lock._own_gate()
    lock._file.require_usable()


def forget_what_is_known(lock: LeaderLock) -> None:
    """Let the next acquisition be as in a forked child, to which the lock is new; for a rehearsal."""
    lock._pid = 0
    lock._file.last_written, lock._file.journalled = (b"", 0), 0


def are_same(one: LeaderLock, other: LeaderLock) -> bool:
    """Whether both name the same lock, by what they were made with."""
    mine, others = one._file, other._file
    if mine is others or not mine.has_path or mine.is_named != others.is_named:
        return mine is others
    # A name has a path for each user, and a worker may be about to become another one.
    return mine.name == others.name if mine.is_named else mine.path == others.path


def is_called(lock: LeaderLock, name: str) -> bool:
    """Whether a held lock has this name, or this path, which may be written in many ways."""
    if name == lock.path or (name == lock._file.name and lock._file.is_named):
        return True
    try:
        return os.path.samestat(os.stat(name), os.fstat(lock.fileno()))
    except (OSError, ValueError, NotHeld):  # no such file; no path; resigned meanwhile
        return False
