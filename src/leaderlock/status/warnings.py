"""The problems of a lock, and their remedies."""

from __future__ import annotations

import os
import stat
import time

from leaderlock.kernel.proc.processes import is_there
from leaderlock.lock import record
from leaderlock.status.model import LockWarning
from leaderlock.status.opened import process_in
from leaderlock.status.people import user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from leaderlock.status.model import HolderStatus
    from leaderlock.status.opened import Opened
    from leaderlock.status.rivals import Rival
    from leaderlock.status.view import View

_LATE = 0.8
"""A fraction of the lease: a leader without a beat for this long is about to miss its deadline."""


_STUCK = 0.1
"""Seconds of uninterruptible sleep after which there is a warning."""


def warnings_about(
    opened: Opened,
    holder: HolderStatus | None,
    holders: int,
    content: bytes | None,
    fields: dict[str, Any] | None,
    rivals: list[Rival],
    view: View,
) -> list[LockWarning]:
    """Every warning, the most serious first.

    Args:
        opened: the file.
        holder: the holder of the lock.
        holders: the number of holders: flock(1) can share a lock.
        content: the bytes of the record; None if they cannot be read.
        fields: the fields of the record; None if there is none.
        rivals: the holders of the lock of a file that was deleted from the same path.
        view: the look at the machine.
    """
    found = [*_about_path(opened, holder, rivals)]
    odd = record.oddity(content) if content and fields is None else None
    if holder is not None:
        found += _about_process(holder, view)
        if holder.term is None and not holder.kept_by and content is not None:
            found += _about_foreign(holder, holders, fields, odd is not None)
    if odd is not None:
        found.append(
            LockWarning(
                "record-odd",
                f"the record is odd: its checksum is right, but leaderlock does not write such values "
                f"({odd}). Another program wrote it, so its term, date and host are not shown: find "
                f"out which programs may write to the file",
            )
        )
    elif content and fields is None:
        found.append(
            LockWarning(
                "record-corrupt",
                "the file does not contain a leaderlock record, so no candidate can lead: "
                "put a copy of it back, or stop all who use it and remove it (terms start at 1 again)",
            )
        )
    return [*found, *_about_owner(opened, holder)]


def _about_path(
    opened: Opened, holder: HolderStatus | None, rivals: list[Rival]
) -> Iterator[LockWarning]:
    for rival in rivals:
        yield LockWarning(
            "file-deleted",
            f"process {rival.pid} holds the lock of a file that was deleted from this path, so two "
            f"processes may lead at once: stop it (kill {rival.pid}), and find out who deletes files "
            f"here",
        )
    if process_in(opened.reached_by) and opened.path.endswith(" (deleted)") and holder is not None:
        yield LockWarning(
            "file-deleted",
            f"the file was deleted while process {holder.pid} holds its lock, so who starts now makes "
            f"a new file and leads as well: restart all who use it, and find out who deletes files "
            f"there",
        )


def _about_process(holder: HolderStatus, view: View) -> Iterator[LockWarning]:
    pid = holder.pid
    names = [f"{keeper.pid} ({keeper.command or 'command not visible'})" for keeper in holder.kept_by]
    if holder.kept_by:
        yield LockWarning(
            "kept-by-orphan",
            f"{_taker(pid)}, but {_list(names)} inherited the descriptor and so keeps the lock: nobody "
            f"else leads until it ends or closes it (kill {holder.kept_by[0].pid})",
        )
    elif holder.state == "Z":
        yield LockWarning(
            "leader-zombie",
            f"process {pid} has ended but was not waited for, and a thread of it, or a process that "
            f"cannot be seen, keeps the lock: end its parent, or look as root who keeps it",
        )
    elif holder.state is None and holder.command is None and _is_gone(pid):
        yield LockWarning(
            "kept-by-orphan",
            f"{_taker(pid)}, but a process that cannot be seen inherited the descriptor and so keeps "
            f"the lock: ask as root which",
        )
    if holder.frozen:
        yield LockWarning(
            "leader-frozen",
            f"the control group {holder.cgroup} of process {pid} is frozen: it holds the lock and does "
            f"nothing; thaw it (docker unpause, systemctl thaw), or kill the process",
        )
    elif holder.state in ("T", "t"):
        by = "a debugger" if holder.state == "t" else "a signal"
        yield LockWarning(
            "leader-stopped",
            f"process {pid} was stopped by {by}: it holds the lock and does nothing; let it go on "
            f"(kill -CONT {pid}) or kill it (kill -KILL {pid})",
        )
    elif holder.state == "D" and view.is_stuck(pid, _STUCK):
        yield LockWarning(
            "leader-uninterruptible",
            f"process {pid} waits for a device or a network file system and cannot be interrupted: it "
            f"holds the lock until that answers; see /proc/{pid}/stack for what it waits for",
        )
    if holder.lease is not None and holder.since is not None:
        age = time.time() - max(holder.last_beat or 0, holder.since)
        if age > _LATE * holder.lease:
            yield LockWarning(
                "lease-late",
                f"the last beat of process {pid} was noted {age:.1f} s ago, and its lease is "
                f"{holder.lease:g} s: it is killed when that is over; let it beat more often, or take "
                f"a longer lease",
            )


def _about_foreign(
    holder: HolderStatus, holders: int, fields: dict[str, Any] | None, odd: bool
) -> Iterator[LockWarning]:
    if _is_gone(holder.pid) or odd:
        return
    others = f" (and {holders - 1} more, as they share it)" if holders > 1 else ""
    before = f"; the record is that of process {fields['pid']}, term {fields['term']}" if fields else ""
    yield LockWarning(
        "foreign-holder",
        f"process {holder.pid}{others} took the lock without leaderlock, with flock(1) for "
        f"example{before}: nobody leads as long as it holds on; end it if it should not",
    )


def _about_owner(opened: Opened, holder: HolderStatus | None) -> Iterator[LockWarning]:
    status = opened.status()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_mode & stat.S_IWOTH and os.fspath(opened.path).startswith("/"):
        yield LockWarning(
            "world-writable",
            f"every user can lock this file for good and write into it (mode {mode:04o}): run "
            f"`chmod o-w {opened.path}`",
        )
    if holder is not None and holder.uid is not None and status.st_uid not in (0, holder.uid):
        yield LockWarning(
            "foreign-owner",
            f"the file belongs to user {user_name(status.st_uid)}, who can lock out the leader's user "
            f"{holder.user}: change its owner (chown {holder.uid})",
        )


def _taker(pid: int) -> str:
    return (
        f"process {pid}, which took the lock, has gone" if pid else "the process that took it has gone"
    )


def _is_gone(pid: int) -> bool:
    return not (pid and is_there(pid))


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"process{'es' if len(names) > 1 else ''} {shown}"
