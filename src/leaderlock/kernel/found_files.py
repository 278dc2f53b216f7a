"""Checks that a file is of the wanted kind and ours; each caller has its own message and remedy."""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Flaw = Literal["", "symlink", "kind", "owner"]

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def is_ours(user: int) -> bool:
    """Whether a file of this user ID is ours: it belongs to this process's user or to root."""
    return user in (os.geteuid(), 0)


def flaw_of(status: os.stat_result, kind: int = stat.S_IFREG) -> Flaw:
    """Why this process should not use a file: the first flaw found, or "" if there is none.

    Args:
        status: the file's lstat(2) or fstat(2).
        kind: the wanted kind: one of the ``S_IF`` constants.
    """
    if stat.S_ISLNK(status.st_mode):
        return "symlink"
    if stat.S_IFMT(status.st_mode) != kind:
        return "kind"
    return "" if is_ours(status.st_uid) else "owner"


def kind_of(mode: int, otherwise: str) -> str:
    """The kind of a file in words.

    Args:
        mode: the file's ``st_mode``.
        otherwise: the words for a kind of file that is unknown here.
    """
    return _KINDS.get(stat.S_IFMT(mode), otherwise)
