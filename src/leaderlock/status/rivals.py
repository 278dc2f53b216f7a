"""Locks that are held on a file that was deleted: a path's new file is a second lock beside them."""

from __future__ import annotations

import os
from typing import NamedTuple

from leaderlock.kernel.proc.mounts import real_path

DELETED = " (deleted)"
"""What the kernel puts behind the path of a deleted file."""


class Rival(NamedTuple):
    """A process that holds the lock of a deleted file; `descriptor` is its ``/proc/PID/fd/N``."""

    pid: int
    descriptor: str


def deleted_path(path: str) -> str:
    """What the link of a descriptor says once the file at this path is deleted."""
    directory, name = os.path.split(path)
    return f"{real_path(directory)}/{name}{DELETED}".replace("//", "/")
