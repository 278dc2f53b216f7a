"""Facts and calls of the operating system: the lock table, file systems, flock, native threads.

For users: `filesystem` (whether flock can be trusted behind a path), `lock_table` (all file locks, with
holders and waiters), `experiments` (tests of flock in a directory).
"""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.filesystems.mounted import Filesystem, filesystem
    from leaderlock.kernel.laboratory.laboratory import Result, experiments
    from leaderlock.kernel.proc.locks import Lock, lock_table

__all__ = ["Filesystem", "Lock", "Result", "experiments", "filesystem", "lock_table"]

# Imported on first use: `LeaderLock` needs none of these modules.
_MODULE_OF = {
    "Filesystem": "filesystems.mounted",
    "Lock": "proc.locks",
    "Result": "laboratory.laboratory",
    "experiments": "laboratory.laboratory",
    "filesystem": "filesystems.mounted",
    "lock_table": "proc.locks",
}
__getattr__, __dir__ = face(__name__, _MODULE_OF)
