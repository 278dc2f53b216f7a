"""Keepers among the processes: a leader's child that shares its memory, and is none of its workers."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.processes import process_of, read

NAME = "leaderlock-keep"
"""The kernel's name of a keeper, as ps(1) and top(1) show it: leaderlock-native gives it."""


def children_of(pid: int) -> list[int]:
    """The children of a process, also those that have ended and were not waited for.

    Raises:
        FileNotFoundError: not Linux, no such process, or a kernel without CONFIG_PROC_CHILDREN.
        ProcessLookupError: the process, or one of its threads, has ended meanwhile.
    """
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):  # any thread may have made a child
        with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
            children += [int(child) for child in file.read().split()]
    return sorted(children)


def is_keeper(pid: int) -> bool:
    """Whether the process is a keeper; False if it is gone."""
    return read(f"/proc/{pid}/comm") == NAME.encode() + b"\n"


def keeper_of(pid: int) -> int | None:
    """The living keeper of a process; None without one, or if the kernel does not show it."""
    try:
        children = children_of(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    for child in children:
        if is_keeper(child):
            seen = process_of(child)
            if seen is not None and not seen.ended:
                return child
    return None
