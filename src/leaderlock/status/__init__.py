"""Who leads, who waits, and what is wrong: of one lock, and of every lock on the machine.

The kernel's lock table decides; the file's record and its history add to it. Nobody is disturbed by
asking. What this process may not see is said, never guessed.
"""

from __future__ import annotations

from leaderlock.status.lock import status_of
from leaderlock.status.machine import all_locks
from leaderlock.status.model import (
    WARNINGS,
    Filesystem,
    HolderStatus,
    LockStatus,
    LockWarning,
    ProcessStatus,
)

__all__ = [
    "WARNINGS",
    "Filesystem",
    "HolderStatus",
    "LockStatus",
    "LockWarning",
    "ProcessStatus",
    "all_locks",
    "status_of",
]
