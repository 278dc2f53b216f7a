"""`lock_table`: every lock on files, of all kinds, and the descriptors that keep a lock alive.

There are two sources: ``/proc/locks`` names the process that called flock, and fdinfo of each process
(proc_pid_fdinfo(5)) names the descriptors that carry the lock. Only fdinfo shows a descriptor that a
killed leader's child has inherited, and, in a container, a lock whose caller has ended:
``/proc/locks`` leaves that lock out there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from leaderlock.kernel.proc.mounts import place_of
from leaderlock.kernel.proc.table import read_locks

_KINDS = {b"FLOCK": "flock", b"POSIX": "posix", b"OFDLCK": "ofd", b"LEASE": "lease", b"DELEG": "lease"}


@dataclass(frozen=True)
class Lock:
    """One lock, held or waited for.

    Attributes:
        kind: ``flock``, ``posix`` (fcntl F_SETLK), ``ofd`` (F_OFD_SETLK), ``lease``, or the kernel's
            name of another kind.
        pid: the process that requested the lock, in this process's PID namespace; None where the kernel
            does not say (OFD locks belong to no process; a caller may have ended in another namespace).
        waiting: False for a holder, True for a waiter in the queue.
        exclusive: True for a write lock, False for a read (shared) lock.
        device: major and minor number of the file system, as the kernel prints them.
        inode: the file's inode number, as the kernel prints it.
        start: the first byte locked.
        end: the last byte locked; None if the lock reaches to the end of the file, at any length.
        descriptors: (process ID, descriptor) of each descriptor that carries the lock; searched only if
            a path was given, and only in processes whose fdinfo this process may read.
    """

    kind: str
    pid: int | None
    waiting: bool
    exclusive: bool
    device: tuple[int, int]
    inode: int
    start: int
    end: int | None
    descriptors: tuple[tuple[int, int], ...] = ()


def lock_table(path: str | os.PathLike[str] | None = None) -> list[Lock] | None:
    """The locks that this process may see, in the kernel's order: a holder, then its waiters.

    Args:
        path: return only this file's locks, with the descriptors that carry them.

    Returns:
        None where there is no ``/proc/locks``. The kernel leaves out callers in PID namespaces that are
        not visible from this one.

    Raises:
        OSError: the path is missing, or this user may not look it up.
    """
    if path is None:
        lines = read_locks()
        return None if lines is None else [_parse(line) for line in lines]
    fd = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        (major, minor), inode = place_of(fd)
        status = os.fstat(fd)
    finally:
        os.close(fd)
    lines = read_locks(b" %02x:%02x:%d " % (major, minor, inode))
    return None if lines is None else _with_descriptors([_parse(line) for line in lines], status)


def _with_descriptors(table: list[Lock], status: os.stat_result) -> list[Lock]:
    kept: dict[Lock, list[tuple[int, int]]] = {lock: [] for lock in table}
    for pid, fd in descriptors_on(status):
        for lock in locks_in(pid, fd):
            kept.setdefault(lock, []).append((pid, fd))
    unlisted = [lock for lock in kept if lock not in table]
    return [replace(lock, descriptors=tuple(kept[lock])) for lock in [*table, *unlisted]]


def descriptors_on(status: os.stat_result) -> list[tuple[int, int]]:
    """(Process ID, descriptor) of each descriptor that leads to the file, in every visible process.

    Without rights over other users' processes (proc(5), ptrace(2)), only the user's own are visible.
    """
    found = []
    for pid in _entries("/proc"):
        for fd in _entries(f"/proc/{pid}/fd"):
            try:
                seen = os.stat(f"/proc/{pid}/fd/{fd}")
            except OSError:  # closed by now, or the file system does not answer (ESTALE)
                continue
            if seen.st_ino == status.st_ino and seen.st_dev == status.st_dev:
                found.append((pid, fd))
    return found


def locks_in(pid: int, fd: int) -> list[Lock]:
    """The locks that a descriptor carries, and the POSIX locks on its file, which its process holds."""
    try:
        with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
            return [_parse(line[5:]) for line in file if line.startswith(b"lock:")]
    except OSError:  # ENOENT, ESRCH: the process has ended; EACCES, EPERM: it is another user's
        return []


def _entries(directory: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(directory) if name.isdecimal()]
    except OSError:  # ENOENT: the process has ended; EACCES, EPERM: it is another user's
        return []


def _parse(line: bytes) -> Lock:
    # "1: POSIX  ADVISORY  READ  417 fe:00:131 100 EOF", or "1: -> FLOCK ..." for a waiter.
    fields = line.split()
    waiting = fields[1] == b"->"
    kind, _, access, pid, place, start, end = fields[1 + waiting :][:7]
    major, minor, inode = place.split(b":")
    return Lock(
        _KINDS.get(kind, kind.decode()),
        int(pid) if int(pid) > 0 else None,
        waiting,
        access == b"WRITE",
        (int(major, 16), int(minor, 16)),
        int(inode),
        int(start),
        None if end == b"EOF" else int(end),
    )
