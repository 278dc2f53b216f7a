"""The lock: one file, one flock, one fencing token; the kernel keeps the queue."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.lock.leader_lock import LeaderLock
    from leaderlock.lock.record import Record

__all__ = ["LeaderLock", "Record"]

__getattr__, __dir__ = face(__name__, {"LeaderLock": "leader_lock", "Record": "record"})
