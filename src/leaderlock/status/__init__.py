"""The leader, the waiting processes and the problems of one lock, or of every lock on the machine.

The kernel's lock table decides; the file's record and its history add details. A look disturbs no
process. Where this process lacks the right to see something, the status says so and does not guess.
"""

from __future__ import annotations

from leaderlock.status.gathering.machine import all_locks
from leaderlock.status.lock import status_of
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
