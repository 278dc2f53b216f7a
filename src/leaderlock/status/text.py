"""The status of a lock as text: a label and a text for each line, for every output format."""

from __future__ import annotations

import time

from leaderlock.wording import duration, moment, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status.fleet import ElectionStatus
    from leaderlock.status.model import HolderStatus, LockStatus, ProcessStatus

SHOWN = 10
"""The most waiting processes that are shown without --all."""


STATES = {
    "S": "sleeping",
    "R": "running",
    "I": "idle",
    "D": "in uninterruptible sleep",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "ended, but not waited for",
    "X": "ended",
}
"""The state letters of proc_pid_stat(5)."""


_USUAL = ("S", "R", "I")


def lines_about(lock: LockStatus, now: float) -> list[tuple[str, str]]:
    """The leader and the file: a label and a text for each line.

    Args:
        lock: the status.
        now: the time of the look, in seconds since the epoch.
    """
    holder = lock.holder
    if holder is None:
        lines = [("leader", "nobody")]
    else:
        lines = [("leader", process_line(holder)), *_about(holder)]
        if holder.term is None:
            why = "it was not locked by leaderlock" if lock.unreadable is None else lock.unreadable
            if any(warning.code == "record-odd" for warning in lock.warnings):
                why = "the record is odd"
            lines.append(("term", f"unknown: {why}"))
        else:
            lines.append(("term", f"{holder.term}, on {holder.host}"))
            lines.append(("since", _moment(holder.since, now)))
        if holder.lease is not None:
            lines.append(("lease", f"{holder.lease:g} s, last beat {_moment(holder.last_beat, now)}"))
        lines += [("kept by", process_line(keeper)) for keeper in holder.kept_by]
        if holder.keeper is not None:
            lines.append(("keeper", f"{holder.keeper}, which shares the leader's memory"))
    filesystem = lock.filesystem
    where = "" if filesystem is None else f"{filesystem.type} on {filesystem.mount_point}, "
    lines.append(("file", f"{where}device {lock.device}, inode {lock.inode}"))
    return [(label, printable(text)) for label, text in lines]


def _about(holder: HolderStatus) -> list[tuple[str, str]]:
    lines = []
    if holder.user is not None:
        state = "" if holder.state in _USUAL else STATES.get(holder.state or "", "")
        state = "frozen" if holder.frozen else state
        lines.append(("user", holder.user + (f"; the process is {state}" if state else "")))
    if holder.container is not None:
        lines.append(("in", f"container {holder.container}"))
    elif holder.cgroup not in (None, "/"):
        lines.append(("in", f"control group {holder.cgroup}"))
    return lines


def lines_of_election(status: ElectionStatus, now: float) -> list[str]:
    """The leader of an election in an engine, its lease, and how many wait."""
    leader = status.leader
    if leader is None:
        first = "nobody leads" if status.term else "nobody has led yet"
        first += f"; the last term was {status.term}" if status.term else ""
    else:
        who = f"process {leader.pid}" if leader.pid else "a process"
        where = f" on {leader.host}" if leader.host else ""
        since = ""
        if leader.since is not None:
            since = f", since {moment(leader.since)} ({duration(max(now - leader.since, 0.0))})"
        first = f"{who}{where} leads, term {status.term}{since}"
    lines = [first]
    if leader is not None and status.ends is not None:
        lines.append(f"its lease ends in {duration(max(status.ends, 0.0))}, unless it renews it")
    if status.waiting is not None:
        number = status.waiting
        lines.append(f"{number} wait{'s' if number == 1 else ''}" if number else "nobody waits")
    return [printable(line) for line in lines]


def process_line(process: HolderStatus | ProcessStatus) -> str:
    """A process's ID and command line, cut to a readable length."""
    return f"{process.pid}  {command(process)}"


def command(process: HolderStatus | ProcessStatus) -> str:
    """A command line, or the reason why it cannot be shown."""
    gone = process.state is None and bool(getattr(process, "kept_by", None))
    text = printable(process.command or ("(gone)" if gone else "(command line not visible)"))
    return text if len(text) <= 80 else text[:79] + "…"


def shown_of(lock: LockStatus, everything: bool) -> tuple[list[ProcessStatus], int]:
    """The waiting processes to show, and the number of the others."""
    waiting = lock.waiting if everything else lock.waiting[:SHOWN]
    return waiting, len(lock.waiting) - len(waiting)


def _moment(at: float | None, now: float) -> str:
    if at is None:
        return "not yet"
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    seconds = int(max(now - at, 0))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
    ago = " ".join(f"{count} {unit}" for count, unit in [*parts, (seconds % 60, "s")] if count)
    return f"{date} ({ago or 'less than a second'} ago)"
