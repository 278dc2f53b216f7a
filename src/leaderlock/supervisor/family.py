"""Which processes belong to the command: its group; as a reaper, also all our descendants."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.processes import process_of, process_table


def left_behind(group: int, sidecars: set[int], *, reaper: bool) -> set[int]:
    """The living processes of the command's group; as a reaper, also all our descendants.

    As a reaper, this includes our children that have ended and are not reaped yet: the process table is
    not read in one instant, and such a child may have forked meanwhile. Its child becomes ours, and is
    seen, once the parent is reaped. So an empty set means that nothing is left.

    Args:
        group: the process group of the command.
        sidecars: processes to leave out, with their descendants.
        reaper: whether orphans become this process's children, as with PID 1.
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
    """Our own children, including adopted orphans: the living first, then by process ID.

    Children that have ended and are not reaped yet are included, like in `left_behind`.
    """
    ours = os.getpid()
    table = process_table()
    children = [pid for pid, process in table.items() if process.parent == ours and pid not in sidecars]
    return sorted(children, key=lambda pid: (table[pid].ended, pid))


def belongs(pid: int, command: int, sidecars: set[int], *, reaper: bool) -> bool:
    """Whether a process is the command, is in its group, or descends from it.

    Args:
        pid: the process.
        command: the command's process ID, which is also its group's ID.
        sidecars, reaper: the same as for `left_behind`.
    """
    if pid == os.getpid():
        return True  # a command that is systemd-notify, run as root, sends with its parent's PID
    while pid > 0:
        if pid == command:
            return True
        process = process_of(pid)
        if process is None or pid in sidecars:
            return False
        if process.group == command:
            return True
        if process.parent == os.getpid():
            return reaper  # an orphan of the command that became our child
        pid = process.parent
    return False


def may_have_left_any(group: int, *, reaper: bool) -> bool:
    """False if certainly no process of an ended command is left, which is the usual case.

    Args:
        group, reaper: the same as for `left_behind`.
    """
    try:
        if reaper:  # every process left is our child; `left_behind` picks the command's
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        else:
            os.killpg(group, 0)
    except (ChildProcessError, ProcessLookupError):
        return False
    except PermissionError:  # a process of another user (set-user-ID)
        return True
    return True
