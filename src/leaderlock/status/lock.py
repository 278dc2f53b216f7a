"""The status of one lock: the kernel's table, the record, and the processes, put together."""

from __future__ import annotations

import os

from leaderlock import record
from leaderlock.errors import LockFileUnusable
from leaderlock.kernel.containers import is_frozen
from leaderlock.kernel.openfiles import processes_with_flock
from leaderlock.kernel.processes import is_there, pid_in_its_namespace, start_of, wait_for_end
from leaderlock.kernel.queues import queue_on
from leaderlock.lock import LeaderLock
from leaderlock.status.hidden import hidden_from_us, outside_our_namespace
from leaderlock.status.model import Filesystem, HolderStatus, LockStatus, ProcessStatus
from leaderlock.status.opened import MissingLockFile, Opened, open_lock
from leaderlock.status.people import process
from leaderlock.status.rivals import Rival, deleted_files_at
from leaderlock.status.warnings import warnings_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from leaderlock.kernel.table import FlockEntry

_LOOKS = 50

_PATIENCE = (0.001, 0.005, 0.02, 0.1)
"""Seconds between looks: a new leader writes its record less than a millisecond after it has the lock,
but later on a busy machine."""

_CLOCK_SLACK = 3.0
"""Seconds by which the start of a process, reckoned from the boot, may be wrong."""


def status_of(lock: str | os.PathLike[str] | LeaderLock) -> LockStatus:
    """Who holds a lock, who waits for it, and what is wrong with it.

    Args:
        lock: a path, one of `all_locks`, or a lock object (also an anonymous one).

    Raises:
        LeaderLockError: there is no such file, it is no lock file, we may not look at it, or this is
            not Linux.
    """
    if isinstance(lock, LeaderLock):
        if lock.path.startswith("memfd:"):
            fd = lock._file.open_for_reading()
            assert fd is not None  # only a path may lead to nothing
            try:
                with open_lock(f"/proc/{os.getpid()}/fd/{fd}") as opened:
                    return status_of_opened(opened)
            finally:
                os.close(fd)
        lock = lock.path
    try:
        opened = open_lock(lock)
    except MissingLockFile:
        # Its holder may live on with a file that was deleted.
        rivals = deleted_files_at(os.path.abspath(os.fsdecode(lock)), None)
        if not rivals:
            raise
        try:
            opened = open_lock(rivals[0].descriptor)
        except LockFileUnusable:
            raise MissingLockFile(
                f"{os.fsdecode(lock)} was deleted, but process {rivals[0].pid} still holds its lock; "
                f"only root or that process's user may see more"
            ) from None
    with opened:
        return status_of_opened(opened)


def status_of_opened(opened: Opened) -> LockStatus:
    """The same of a file that is open: for one who looks again and again."""
    entries, content = _settled(opened)
    fields = record.decode(content) if content else None
    waiting = [process(entry.pid) for entry in entries if entry.waiting]
    holding = [entry for entry in entries if not entry.waiting]
    taken_by = holding[0].pid if holding else None
    kept_by: list[int] = []
    if taken_by is None and outside_our_namespace():
        # The kernel leaves out a lock whose taker has gone, where the number meant nothing any more.
        kept_by = processes_with_flock(opened.place)
        taken_by = 0 if kept_by else None
    holder = None if taken_by is None else _holder(opened, taken_by, kept_by, fields)
    rivals: list[Rival] = []
    if opened.reached_by == opened.path:
        rivals = deleted_files_at(opened.path, opened.place)
    major, minor = opened.place[0]
    return LockStatus(
        opened.path,
        None if fields is None else fields["name"],
        _filesystem(opened),
        f"{major}:{minor}",
        opened.place[1],
        holder,
        waiting,
        warnings_about(opened, holder, len(holding), content, fields, rivals),
        hidden_from_us(opened, holder, waiting),
        opened.unreadable,
    )


def _settled(opened: Opened) -> tuple[list[FlockEntry], bytes | None]:
    """The table's entries and the record; looked at again while they do not fit together."""
    patience = list(_PATIENCE)
    before = None
    for _ in range(_LOOKS):
        entries = queue_on(*opened.place) or []
        content = opened.content()
        if _fit(entries, content):
            return entries, content
        # Only who stays the holder is waited for: where the lock goes round, the next look may fit.
        if (now := (entries[0].pid, content)) == before:
            if not patience:
                return entries, content
            wait_for_end(entries[0].pid, patience.pop(0))
        before = now
    return queue_on(*opened.place) or [], None


def _fit(entries: list[FlockEntry], content: bytes | None) -> bool:
    """Whether the record is the holder's, or nothing is to be expected of it."""
    if not entries or entries[0].waiting or content is None or not is_there(entries[0].pid):
        return True
    fields = record.decode(content)
    if fields is None:
        return record.oddity(content) is not None  # a stranger's, and no better one comes
    return _is_by(entries[0].pid, fields)


def _is_by(pid: int, fields: dict[str, Any]) -> bool:
    return fields["pid"] in (pid, pid_in_its_namespace(pid))


def _holder(
    opened: Opened, pid: int, kept_by: list[int], fields: dict[str, Any] | None
) -> HolderStatus:
    seen = process(pid) if pid else ProcessStatus(pid, None, None, None, None, None, None)
    since = fields["since"] if fields is not None and _is_by(pid, fields) else None
    if _has_gone(seen, since):
        kept_by = kept_by or processes_with_flock(opened.place)
        # A shell that keeps it hands it on to what it starts, `leaderlock status` included.
        others = [keeper for keeper in kept_by if keeper != os.getpid()] or kept_by
        keepers = [process(keeper) for keeper in others if keeper != pid]
        if pid not in kept_by:  # else only its first thread has ended
            seen = ProcessStatus(pid, None, None, None, None, None, seen.state)
    else:
        keepers = []
    if fields is None or since is None:
        return HolderStatus(*seen, None, None, None, None, None, is_frozen(pid), keepers)
    term = opened.term()
    lease, last_beat = None, None
    if term is not None and term.term == fields["term"]:
        lease, last_beat = term.lease, term.last_beat
    return HolderStatus(
        *seen,
        fields["host"],
        fields["term"],
        since,
        lease,
        last_beat,
        is_frozen(pid),
        keepers,
    )


def _has_gone(seen: ProcessStatus, since: float | None) -> bool:
    """Whether the process that took the lock has: the number may be another one's by now."""
    if seen.state in ("Z", "X"):
        return True
    if seen.state is None:
        return not (seen.pid and is_there(seen.pid))
    started = start_of(seen.pid) if since is not None else None
    return since is not None and started is not None and started > since + _CLOCK_SLACK


def _filesystem(opened: Opened) -> Filesystem | None:
    mount = opened.mount
    if mount is None:
        return None
    return Filesystem(mount.kind, mount.mount_point, mount.source, mount.is_network)
