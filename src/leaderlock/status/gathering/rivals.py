"""Locks that are held on deleted files: the new file at the path is then a second lock."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.mounts import real_path

DELETED = " (deleted)"
"""The kernel appends this to the path of a deleted file."""


def deleted_path(path: str) -> str:
    """The link target of a descriptor after the file at this path was deleted."""
    directory, name = os.path.split(path)
    return f"{real_path(directory)}/{name}{DELETED}".replace("//", "/")
