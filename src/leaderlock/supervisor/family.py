"""Which processes are the command's: its group, and as a reaper all that descends from us."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.processes import process_of, process_table


def left_behind(group: int, sidecars: set[int], *, reaper: bool) -> set[int]:
    """The living processes of the command's group, and as a reaper all that descends from us.

    As a reaper, children of ours that have ended and were not taken in yet count as left: the table is
    not read in one instant, and such a child may have forked another one behind our back. That one is
    ours, and is seen, once its parent is taken in. So an empty set means that nothing is left.

    Args:
        group: the process group of the command.
        sidecars: processes that are not meant, nor what descends from them.
        reaper: whether orphans become this process's children, as they do PID 1's.
    """
    table = process_table()
    meant = {pid for pid, process in table.items() if process.group == group}
    if reaper:
        children: dict[int, list[int]] = {}
        for pid, process in table.items():
            children.setdefault(process.parent, []).append(pid)
        reached = [pid for pid in children.get(os.getpid(), []) if pid not in sidecars]
        while reached:
            pid = reached.pop()
            meant.add(pid)
            reached += children.get(pid, [])
    ours = os.getpid() if reaper else 0
    left = {pid for pid in meant if not table[pid].ended or table[pid].parent == ours}
    return left - sidecars - {os.getpid()}


def children_left(sidecars: set[int]) -> list[int]:
    """Our own children, orphans that have become ours included: the living first, the oldest first.

    Those that have ended and were not taken in yet are among them, as in `left_behind`.
    """
    ours = os.getpid()
    table = process_table()
    children = [pid for pid, process in table.items() if process.parent == ours and pid not in sidecars]
    return sorted(children, key=lambda pid: (table[pid].ended, pid))


def belongs(pid: int, command: int, sidecars: set[int], *, reaper: bool) -> bool:
    """Whether a process is the command, of its group, or descends from it.

    Args:
        pid: the process.
        command: the command's process ID, which is its group's too.
        sidecars, reaper: as for `left_behind`.
    """
    if pid == os.getpid():
        return True  # systemd-notify, run as root by the command itself, signs as its parent
    while pid > 0:
        if pid == command:
            return True
        process = process_of(pid)
        if process is None or pid in sidecars:
            return False
        if process.group == command:
            return True
        if process.parent == os.getpid():
            return reaper  # an orphan of the command's that has become ours
        pid = process.parent
    return False


def may_have_left_any(group: int, *, reaper: bool) -> bool:
    """False if nothing of a command that has ended can be there any more: as nearly always.

    Args:
        group, reaper: as for `left_behind`.
    """
    try:
        if reaper:  # whose children are all there is; `left_behind` sees which of them are meant
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        else:
            os.killpg(group, 0)
    except (ChildProcessError, ProcessLookupError):
        return False
    except PermissionError:  # somebody else's, set-user-ID
        return True
    return True
