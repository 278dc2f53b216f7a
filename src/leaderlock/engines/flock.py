"""An election by a file's flock: the kernel keeps the queue, and ends a turn when its process ends."""

from __future__ import annotations

import functools
import time

from leaderlock.errors import LeadershipLost, LockFileReplaced, NotHeld
from leaderlock.lock import turn
from leaderlock.lock.resigning import Request
from leaderlock.lock.turn import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Engine
    from leaderlock.engines.file_watch import ReplacementWatch
    from leaderlock.lock.leader_lock import LeaderLock

_NOTE_EVERY = 1.0
"""Shortest time in seconds between two recorded beats; with a short lease, a quarter of the lease."""


class FlockEngine:
    """The elections of a lock's file."""

    session = None

    def __init__(self, lock: LeaderLock) -> None:
        self.lock = lock
        # For speed: see "How it is built". This is `Engine.tenure`, without a function of ours.
        self.tenure: Callable[[], FlockTenure] = functools.partial(FlockTenure, lock)

    @property
    def address(self) -> str:
        """The path of the lock's file."""
        return self.lock.path

    def require_usable(self) -> None:
        """See `Engine.require_usable`."""
        turn.require_usable(self.lock)

    @staticmethod
    def import_for_term() -> None:
        """See `Engine.import_for_term`; 6 ms for ctypes, unless the program has imported that."""
        try:
            import leaderlock.engines.file_watch  # noqa: PLC0415  (needed to lead)
            import leaderlock.kernel.handlers  # noqa: F401, PLC0415  (to cancel a wait)
        except ImportError:  # not Linux, or a Python without ctypes: a leader looks when it beats
            return

    def forget_what_is_known(self) -> None:
        """Have the next tenure run as in a forked child, where the file is new; for a rehearsal."""
        turn.forget_what_is_known(self.lock)

    def is_same(self, other: Engine) -> bool:
        """See `Engine.is_same`."""
        return isinstance(other, FlockEngine) and turn.are_same(self.lock, other.lock)

    def is_called(self, name: str) -> bool:
        """See `Engine.is_called`."""
        return turn.is_called(self.lock, name)


class FlockTenure(Turn):
    """A term, made of a turn at the lock; see `Tenure`."""

    __slots__ = ("_next_note", "_request")
    _next_note: float
    _request: Request

    @property
    def request(self) -> Request:
        """See `Tenure.request`; made when first asked for, since only a leader needs it."""
        if not hasattr(self, "_request"):
            self._request = Request(self.lock)
        return self._request

    def check(self) -> None:
        """See `Tenure.check`."""
        try:
            self.require_current()
        except (NotHeld, LockFileReplaced) as error:
            raise LeadershipLost(str(error)) from error

    def beat(self) -> None:
        """See `Tenure.beat`."""
        self.check()
        now = time.monotonic()
        pause = _NOTE_EVERY if self.lease is None else min(_NOTE_EVERY, self.lease / 4)
        if not hasattr(self, "_next_note"):  # the start of the term is noted apart
            # The clock may have been set back since the election.
            self._next_note = now + pause - max(time.time() - self.since, 0.0)
        if now < self._next_note:
            return
        self._next_note = now + pause
        try:
            self.mend()
            self.request.heed()
            self.record_beat()
        except NotHeld as error:
            raise LeadershipLost(str(error)) from error

    def look(self) -> None:
        """See `Tenure.look`."""
        self.check()
        try:
            self.mend()
        except NotHeld as error:
            raise LeadershipLost(str(error)) from error
        self.request.heed()

    def watch(self, changed: Callable[[], object]) -> ReplacementWatch:
        """See `Tenure.watch`."""
        from leaderlock.engines.file_watch import ReplacementWatch  # noqa: PLC0415  (ctypes; see `import_for_term`)

        return ReplacementWatch(changed, self.lock)

    resign = Turn.release
