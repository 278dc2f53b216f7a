"""Locks that are held on a file that was deleted: a path's new file is a second lock beside them."""

from __future__ import annotations

import os
from typing import NamedTuple

from leaderlock.kernel.mounts import real_path
from leaderlock.kernel.openfiles import descriptors_leading_to, flocks_by
from leaderlock.kernel.queues import holders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.openfiles import Place


class Rival(NamedTuple):
    """A process that holds the lock of a deleted file; `descriptor` is its ``/proc/PID/fd/N``."""

    pid: int
    descriptor: str


def deleted_files_at(path: str, current: Place | None) -> list[Rival]:
    """Who holds the lock of a file that was deleted from this path, as far as we may see.

    Args:
        path: absolute.
        current: what the path leads to now; None if to nothing.
    """
    directory, name = os.path.split(path)
    deleted = f"{real_path(directory)}/{name} (deleted)".replace("//", "/")
    held = holders()
    held.pop(current, None)  # type: ignore[arg-type]
    return [
        Rival(pid, descriptor)
        for pid in sorted(set(held.values()))
        for descriptor in descriptors_leading_to(pid, deleted)
        if any(place in held for place in flocks_by(descriptor))
    ]
