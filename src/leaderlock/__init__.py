"""Exactly one process on a machine runs a job; when it dies, the next process takes over by itself."""

from __future__ import annotations

from leaderlock._version import __version__
from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.election.candidate import Candidate
    from leaderlock.election.current import current_leadership, is_leader
    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership
    from leaderlock.errors import (
        BlocksEventLoop,
        CorruptLockFile,
        EngineUnreachable,
        EngineUnusable,
        LeaderLockError,
        LeadershipLost,
        LockFileReplaced,
        LockFileUnusable,
        LockTimeout,
        NetworkFilesystem,
        NotHeld,
        NoThreadLeft,
        UnsafeLockFile,
        Unsupported,
    )
    from leaderlock.inbox.inbox import Inbox
    from leaderlock.lock.leader_lock import LeaderLock
    from leaderlock.lock.record import Record
    from leaderlock.once.completed import call_once
    from leaderlock.once.elected import only_once

__all__ = [
    "BlocksEventLoop",
    "Candidate",
    "CorruptLockFile",
    "Election",
    "EngineUnreachable",
    "EngineUnusable",
    "Inbox",
    "LeaderLock",
    "LeaderLockError",
    "Leadership",
    "LeadershipLost",
    "LockFileReplaced",
    "LockFileUnusable",
    "LockTimeout",
    "NetworkFilesystem",
    "NoThreadLeft",
    "NotHeld",
    "Record",
    "UnsafeLockFile",
    "Unsupported",
    "__version__",
    "call_once",
    "current_leadership",
    "is_leader",
    "only_once",
]

# Each name is imported at its first use: a program that only locks needs no `threading`, and
# `leaderlock run` without a lock needs none of these modules.
_MODULES = {
    "election.candidate": ("Candidate",),
    "election.current": ("current_leadership", "is_leader"),
    "election.election": ("Election",),
    "errors": (
        "BlocksEventLoop",
        "CorruptLockFile",
        "EngineUnreachable",
        "EngineUnusable",
        "LeaderLockError",
        "LeadershipLost",
        "LockFileReplaced",
        "LockFileUnusable",
        "LockTimeout",
        "NetworkFilesystem",
        "NoThreadLeft",
        "NotHeld",
        "UnsafeLockFile",
        "Unsupported",
    ),
    "inbox.inbox": ("Inbox",),
    "election.leadership": ("Leadership",),
    "lock.leader_lock": ("LeaderLock",),
    "once.completed": ("call_once",),
    "once.elected": ("only_once",),
    "lock.record": ("Record",),
}
__getattr__, __dir__ = face(
    __name__, {name: module for module, names in _MODULES.items() for name in names}
)
