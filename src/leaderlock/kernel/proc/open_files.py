"""The processes that have a locked file open, from ``/proc/PID/fdinfo`` (proc_pid_fdinfo(5)).

The lock table names the process that called flock(2). But the lock belongs to the open file
description, which other processes may have got by fork(2) or over a socket: their fdinfo shows it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Place = tuple[tuple[int, int], int]
    """Device and inode number, as ``/proc/locks`` prints them."""


def descriptors_with_flocks(pid: int) -> dict[Place, str] | None:
    """The flocks of the process's descriptors: from the file's place to the descriptor's path in /proc.

    None if this user may not read the descriptors, or the process is gone.
    """
    # A process whose first thread has ended shows no descriptors; its other threads show them.
    directory = f"/proc/{pid}"
    found: dict[Place, str] = {}
    try:
        if not (names := os.listdir(f"{directory}/fdinfo")):
            for thread in os.listdir(f"{directory}/task"):
                if names := os.listdir(f"{directory}/task/{thread}/fdinfo"):
                    directory = f"{directory}/task/{thread}"
                    break
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    for name in names:
        for place in _flocks_in(f"{directory}/fdinfo/{name}"):
            found[place] = f"{directory}/fd/{name}"
    return found


def processes() -> list[int]:
    """The ID of every visible process."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def links_of(pid: int) -> list[tuple[str, str]]:
    """Each ``/proc/PID/fd/N`` of the process and its target; empty if this user may not read them."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    paths = [f"/proc/{pid}/fd/{name}" for name in names]
    return [(path, link) for path in paths if (link := link_of(path)) is not None]


def flocks_by(descriptor: str) -> list[Place]:
    """The flocks that a ``/proc/PID/fd/N`` carries."""
    return list(_flocks_in("/fdinfo/".join(descriptor.rsplit("/fd/", maxsplit=1))))


def link_of(descriptor: str) -> str | None:
    """The target of a ``/proc/PID/fd/N``, perhaps with " (deleted)"; None if gone or unreadable."""
    try:
        return os.readlink(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _flocks_in(fdinfo: str) -> Iterator[Place]:
    try:
        fd = os.open(fdinfo, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    try:
        content = os.read(fd, 65536)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return
    finally:
        os.close(fd)
    for line in content.splitlines():
        # "lock:	1: FLOCK  ADVISORY  WRITE 417 fe:00:131 0 EOF"
        if line.startswith(b"lock:") and b" FLOCK " in line:
            major, minor, inode = line.split()[6].split(b":")
            yield (int(major, 16), int(minor, 16)), int(inode)
