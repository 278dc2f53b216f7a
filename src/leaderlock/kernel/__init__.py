"""What the operating system tells and does: the lock table, file systems, flock, native threads.

For users: `filesystem` (what flock is worth behind a path), `lock_table` (who holds what, and who
waits), `experiments` (see for yourself).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.filesystems import Filesystem, filesystem
    from leaderlock.kernel.laboratory import Result, experiments
    from leaderlock.kernel.locks import Lock, lock_table

__all__ = ["Filesystem", "Lock", "Result", "experiments", "filesystem", "lock_table"]

# Imported when first asked for: the lock needs none of it.
_ROOM_OF = {
    "Filesystem": "filesystems",
    "Lock": "locks",
    "Result": "laboratory",
    "experiments": "laboratory",
    "filesystem": "filesystems",
    "lock_table": "locks",
}


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415

    value: object = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOM_OF})
