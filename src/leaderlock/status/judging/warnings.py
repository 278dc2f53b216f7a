"""The problems of a lock, and their remedies."""

from __future__ import annotations

import stat

from leaderlock.status.facts import process_in
from leaderlock.status.model import LockWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from leaderlock.status.facts import FileFacts, LockFacts, RecordFacts
    from leaderlock.status.model import HolderStatus

_LATE = 0.8
"""A fraction of the lease: a leader without a beat for this long is about to miss its deadline."""


def warnings_about(facts: LockFacts, holder: HolderStatus | None, now: float) -> list[LockWarning]:
    """Every warning, the most serious first.

    Args:
        facts: the facts about the lock.
        holder: the holder of the lock.
        now: the time, in seconds since the epoch.
    """
    found = [*_about_path(facts, holder)]
    if holder is not None:
        found += _about_process(holder, facts, now)
        if holder.term is None and not holder.kept_by and facts.record is not None:
            found += _about_foreign(holder, facts, facts.record)
    if facts.record is not None:
        found += _about_record(facts.record)
    return [*found, *_about_owner(facts.file, holder)]


def _about_record(record: RecordFacts) -> Iterator[LockWarning]:
    if record.oddity is not None:
        yield LockWarning(
            "record-odd",
            f"the record is odd: its checksum is right, but leaderlock does not write such values "
            f"({record.oddity}). Another program wrote it, so its term, date and host are not shown: "
            f"find out which programs may write to the file",
        )
    elif record.fields is None and not record.is_empty:
        yield LockWarning(
            "record-corrupt",
            "the file does not contain a leaderlock record, so no candidate can lead: "
            "put a copy of it back, or stop all who use it and remove it (terms start at 1 again)",
        )


def _about_path(facts: LockFacts, holder: HolderStatus | None) -> Iterator[LockWarning]:
    for rival in facts.rivals:
        yield LockWarning(
            "file-deleted",
            f"process {rival.pid} holds the lock of a file that was deleted from this path, so two "
            f"processes may lead at once: stop it (kill {rival.pid}), and find out who deletes files "
            f"here",
        )
    is_deleted = process_in(facts.file.reached_by) and facts.file.path.endswith(" (deleted)")
    if is_deleted and holder is not None:
        yield LockWarning(
            "file-deleted",
            f"the file was deleted while process {holder.pid} holds its lock, so who starts now makes "
            f"a new file and leads as well: restart all who use it, and find out who deletes files "
            f"there",
        )


def _about_process(holder: HolderStatus, facts: LockFacts, now: float) -> Iterator[LockWarning]:
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
    elif holder.state is None and holder.command is None and not _exists(facts):
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
    elif holder.state == "D" and facts.taker is not None and facts.taker.is_stuck:
        yield LockWarning(
            "leader-uninterruptible",
            f"process {pid} waits for a device or a network file system and cannot be interrupted: it "
            f"holds the lock until that answers; see /proc/{pid}/stack for what it waits for",
        )
    if holder.lease is not None and holder.since is not None:
        age = now - max(holder.last_beat or 0, holder.since)
        if age > _LATE * holder.lease:
            yield LockWarning(
                "lease-late",
                f"the last beat of process {pid} was noted {age:.1f} s ago, and its lease is "
                f"{holder.lease:g} s: it is killed when that is over; let it beat more often, or take "
                f"a longer lease",
            )


def _about_foreign(
    holder: HolderStatus, facts: LockFacts, record: RecordFacts
) -> Iterator[LockWarning]:
    if not _exists(facts) or record.oddity is not None:
        return
    fields, holders = record.fields, facts.holders
    others = f" (and {holders - 1} more, as they share it)" if holders > 1 else ""
    before = f"; the record is that of process {fields['pid']}, term {fields['term']}" if fields else ""
    yield LockWarning(
        "foreign-holder",
        f"process {holder.pid}{others} took the lock without leaderlock, with flock(1) for "
        f"example{before}: nobody leads as long as it holds on; end it if it should not",
    )


def _about_owner(file: FileFacts, holder: HolderStatus | None) -> Iterator[LockWarning]:
    if file.mode & stat.S_IWOTH and file.path.startswith("/"):
        yield LockWarning(
            "world-writable",
            f"every user can lock this file for good and write into it (mode {file.mode:04o}): run "
            f"`chmod o-w {file.path}`",
        )
    if holder is not None and holder.uid is not None and file.owner not in (0, holder.uid):
        yield LockWarning(
            "foreign-owner",
            f"the file belongs to user {file.owner_name}, who can lock out the leader's user "
            f"{holder.user}: change its owner (chown {holder.uid})",
        )


def _taker(pid: int) -> str:
    return (
        f"process {pid}, which took the lock, has gone" if pid else "the process that took it has gone"
    )


def _exists(facts: LockFacts) -> bool:
    return facts.taker is not None and facts.taker.exists


def _list(names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"process{'es' if len(names) > 1 else ''} {shown}"
