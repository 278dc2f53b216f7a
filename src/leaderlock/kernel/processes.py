"""What ``/proc`` tells of a process."""

from __future__ import annotations

import os


def pid_in_its_namespace(pid: int) -> int | None:
    """The number by which a process knows itself: another one if it lives in a container.

    None if the process is gone or hidden (proc(5), hidepid).
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"NSpid:"):
                    return int(line.split()[-1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return None


def command_line(pid: int) -> str | None:
    """The process's command line, or None if it is gone, hidden, or has none (a zombie)."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return os.fsdecode(b" ".join(words)) or None


class Process:
    """One line of the process table."""

    __slots__ = ("ended", "group", "parent")

    def __init__(self, parent: int, group: int, ended: bool) -> None:
        self.parent = parent
        self.group = group
        self.ended = ended


def process_table() -> dict[int, Process]:
    """Every process that can be seen, by its ID (proc_pid_stat(5))."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            process = process_of(int(entry))
            if process is not None:
                table[int(entry)] = process
    return table


def process_of(pid: int) -> Process | None:
    """One process, or None if it is gone or hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name, in parentheses, may hold anything, parentheses and blanks included.
    state, parent, group, *_ = line[line.rindex(b")") + 2 :].split()
    return Process(int(parent), int(group), state in (b"Z", b"X"))
