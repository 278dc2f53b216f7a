"""Exactly one process on a machine runs a job; when it dies, the next one takes over by itself."""

from __future__ import annotations

from leaderlock._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.candidate import Candidate
    from leaderlock.current import current_leadership, is_leader
    from leaderlock.election import Election
    from leaderlock.errors import (
        BlocksEventLoop,
        CorruptLockFile,
        LeaderLockError,
        LeadershipLost,
        LockFileReplaced,
        LockFileUnusable,
        LockTimeout,
        NetworkFilesystem,
        NotHeld,
        UnsafeLockFile,
        Unsupported,
    )
    from leaderlock.inbox import Inbox
    from leaderlock.leadership import Leadership
    from leaderlock.lock import LeaderLock
    from leaderlock.once import call_once, only_once
    from leaderlock.record import Record

__all__ = [
    "BlocksEventLoop",
    "Candidate",
    "CorruptLockFile",
    "Election",
    "Inbox",
    "LeaderLock",
    "LeaderLockError",
    "Leadership",
    "LeadershipLost",
    "LockFileReplaced",
    "LockFileUnusable",
    "LockTimeout",
    "NetworkFilesystem",
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

# Imported when first asked for: a program that only locks needs no `threading`, and `leaderlock run`
# without a lock needs none of it.
_ROOMS = {
    "candidate": ("Candidate",),
    "current": ("current_leadership", "is_leader"),
    "election": ("Election",),
    "errors": (
        "BlocksEventLoop",
        "CorruptLockFile",
        "LeaderLockError",
        "LeadershipLost",
        "LockFileReplaced",
        "LockFileUnusable",
        "LockTimeout",
        "NetworkFilesystem",
        "NotHeld",
        "UnsafeLockFile",
        "Unsupported",
    ),
    "inbox": ("Inbox",),
    "leadership": ("Leadership",),
    "lock": ("LeaderLock",),
    "once": ("call_once", "only_once"),
    "record": ("Record",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    value: object = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
