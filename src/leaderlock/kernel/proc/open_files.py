"""Which processes have a locked file open, from ``/proc/PID/fdinfo`` (proc_pid_fdinfo(5)).

The lock table names who called flock(2). The lock belongs to the open file description, which may have
passed on to others since, by fork(2) or over a socket: these have it in their fdinfo.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Place = tuple[tuple[int, int], int]
    """Device and inode number, as ``/proc/locks`` prints them."""


def descriptors_with_flocks(pid: int) -> dict[Place, str] | None:
    """The flocks that the process's descriptors carry: by their place, the descriptor's path in /proc.

    None if we may not look, or the process is gone.
    """
    # A process whose first thread has ended shows no descriptors of its own: its other threads do.
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
    """The number of every process that can be seen."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def links_of(pid: int) -> list[tuple[str, str]]:
    """Each ``/proc/PID/fd/N`` of the process and what it leads to; empty if we may not look."""
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
    """What a ``/proc/PID/fd/N`` leads to: a path, perhaps with " (deleted)"; None as above."""
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
