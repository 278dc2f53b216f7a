"""The status of one lock: combines the kernel's table, the record, and the processes."""

from __future__ import annotations

import os

from leaderlock.errors import LockFileUnusable
from leaderlock.kernel.proc.processes import is_there, wait_for_end
from leaderlock.kernel.proc.surroundings import in_pid_namespace
from leaderlock.lock import record
from leaderlock.lock.holder import open_for_reading
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.status.hidden import hidden_from_us
from leaderlock.status.model import Filesystem, HolderStatus, LockStatus, ProcessStatus
from leaderlock.status.opened import MissingLockFile, Opened, open_lock
from leaderlock.status.view import View
from leaderlock.status.warnings import warnings_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from leaderlock.kernel.proc.table import FlockEntry
    from leaderlock.status.rivals import Rival

_LOOKS = 50

_PATIENCE = (0.001, 0.005, 0.02, 0.1)
"""Seconds between looks: a new leader writes its record less than 1 ms after it acquired the lock, but
later on a busy machine."""

_CLOCK_SLACK = 3.0
"""Seconds of error in a process's start time, which is computed from the boot time."""


def status_of(lock: str | os.PathLike[str] | LeaderLock) -> LockStatus:
    """The holder of a lock, the waiting processes, and the problems of the lock.

    Args:
        lock: a path, also one from `all_locks`, or a lock object (also an anonymous one).

    Raises:
        LeaderLockError: the file does not exist, is no lock file or may not be examined by us; or this
            is not Linux.
    """
    view = View()
    if isinstance(lock, LeaderLock):
        if lock.path.startswith("memfd:"):
            fd = open_for_reading(lock)
            assert fd is not None  # None is possible only for a path
            try:
                with open_lock(f"/proc/{os.getpid()}/fd/{fd}") as opened:
                    return statuses_of([opened], view)[0]
            finally:
                os.close(fd)
        lock = lock.path
    with open_at(lock, view) as opened:
        return statuses_of([opened], view)[0]


def open_at(path: str | os.PathLike[str], view: View) -> Opened:
    """Open the file at a path or, if it was deleted, the deleted file whose lock is still held.

    Raises:
        LeaderLockError: for the same reasons as in `status_of`.
    """
    try:
        return open_lock(path, view.mounts)
    except MissingLockFile:
        # A process may still hold the lock of a file that was deleted.
        rivals = view.deleted_files_at(os.path.abspath(os.fsdecode(path)), None)
        if not rivals:
            raise
        try:
            return open_lock(rivals[0].descriptor, view.mounts)
        except LockFileUnusable:
            raise MissingLockFile(
                f"{os.fsdecode(path)} was deleted, but process {rivals[0].pid} still holds its lock; "
                f"only root or that process's user may see more"
            ) from None


def statuses_of(files: Sequence[Opened], view: View) -> list[LockStatus]:
    """The status of several locks whose files are open, at one moment."""
    return [
        _status(opened, *settled, view)
        for opened, settled in zip(files, _settled(files, view), strict=True)
    ]


def _status(opened: Opened, entries: list[FlockEntry], content: bytes | None, view: View) -> LockStatus:
    fields = record.decode(content) if content else None
    waiting = [view.process(entry.pid) for entry in entries if entry.waiting]
    holding = [entry for entry in entries if not entry.waiting]
    taken_by = holding[0].pid if holding else None
    kept_by: list[int] = []
    if taken_by is None and in_pid_namespace():
        # In a container, /proc/locks omits a lock if the process that took it has ended.
        kept_by = view.processes_with_flock(opened.place)
        taken_by = 0 if kept_by else None
    holder = None if taken_by is None else _holder(opened, taken_by, kept_by, fields, view)
    rivals: list[Rival] = []
    if opened.reached_by == opened.path:
        rivals = view.deleted_files_at(opened.path, opened.place)
    major, minor = opened.place[0]
    return LockStatus(
        opened.path,
        None if fields is None else fields["name"],
        _filesystem(opened),
        f"{major}:{minor}",
        opened.place[1],
        holder,
        waiting,
        warnings_about(opened, holder, len(holding), content, fields, rivals, view),
        hidden_from_us(opened, holder, waiting),
        opened.unreadable,
    )


def _settled(files: Sequence[Opened], view: View) -> list[tuple[list[FlockEntry], bytes | None]]:
    """The table's entries and the record of each file; read again while they do not fit together.

    One wait serves all files that do not fit, so that many foreign holders take no longer than one.
    """
    found: dict[Opened, tuple[list[FlockEntry], bytes | None]] = {}
    pending, before = list(files), dict[Opened, tuple[int, bytes | None]]()
    patience = list(_PATIENCE)
    for _ in range(_LOOKS):
        now = {}
        for opened in pending:
            found[opened] = entries, content = view.queue_on(opened.place), opened.content()
            if not _fit(entries, content, view):
                now[opened] = entries[0].pid, content
        # Wait only where the holder is unchanged: where the lock changes hands, the next look may fit.
        stay = [opened for opened in now if now[opened] == before.get(opened)]
        if stay and patience:
            wait_for_end(now[stay[0]][0], patience.pop(0))
            stay = []
        pending = [opened for opened in now if opened not in stay]
        if not pending:
            break
        before = now
        view.look_again()
    for opened in pending:
        found[opened] = view.queue_on(opened.place), None
    return [found[opened] for opened in files]


def _fit(entries: list[FlockEntry], content: bytes | None, view: View) -> bool:
    """Whether the holder wrote the record, or no better record can be expected."""
    if not entries or entries[0].waiting or content is None or not is_there(entries[0].pid):
        return True
    fields = record.decode(content)
    if fields is None:
        return record.oddity(content) is not None  # another program's record: it will not change
    return _is_by(entries[0].pid, fields, view)


def _is_by(pid: int, fields: dict[str, Any], view: View) -> bool:
    return fields["pid"] in (pid, view.pid_in_its_namespace(pid))


def _holder(
    opened: Opened, pid: int, kept_by: list[int], fields: dict[str, Any] | None, view: View
) -> HolderStatus:
    seen = view.process(pid) if pid else ProcessStatus(pid, None, None, None, None, None, None)
    since = fields["since"] if fields is not None and _is_by(pid, fields, view) else None
    if _has_gone(seen, since, view):
        kept_by = kept_by or view.processes_with_flock(opened.place)
        # A shell that keeps the lock passes it to its children, including `leaderlock status`.
        others = [keeper for keeper in kept_by if keeper != os.getpid()] or kept_by
        keepers = [view.process(keeper) for keeper in others if keeper != pid]
        if pid not in kept_by:  # otherwise only its first thread has ended
            seen = ProcessStatus(pid, None, None, None, None, None, seen.state)
    else:
        keepers = []
    frozen = view.freezers.is_frozen(pid)
    if fields is None or since is None:
        return HolderStatus(*seen, None, None, None, None, None, frozen, keepers)
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
        frozen,
        keepers,
    )


def _has_gone(seen: ProcessStatus, since: float | None, view: View) -> bool:
    """Whether the process that took the lock has ended; its PID may have been reused."""
    if seen.state in ("Z", "X"):
        return True
    if seen.state is None:
        return not (seen.pid and is_there(seen.pid))
    started = view.start_of(seen.pid) if since is not None else None
    return since is not None and started is not None and started > since + _CLOCK_SLACK


def _filesystem(opened: Opened) -> Filesystem | None:
    mount = opened.mount
    if mount is None:
        return None
    return Filesystem(mount.kind, mount.mount_point, mount.source, mount.is_network)
