"""Facts about a process, from ``/proc``."""

from __future__ import annotations

import errno
import os


def pid_in_its_namespace(pid: int) -> int | None:
    """The process's own ID, in the innermost PID namespace; in a container the ID differs from `pid`.

    None if the process is gone or hidden (proc(5), hidepid).
    """
    seen = identity_of(pid)
    return None if seen is None else seen.pids[-1]


class Identity:
    """State, user and IDs of a process, from proc_pid_status(5).

    Attributes:
        state: one letter, explained in proc_pid_stat(5).
        uid: the effective user ID.
        pids: the process ID here, and in each PID namespace below to which the process belongs.
    """

    __slots__ = ("pids", "state", "uid")

    def __init__(self, state: str, uid: int, pids: list[int]) -> None:
        self.state = state
        self.uid = uid
        self.pids = pids


def identity_of(pid: int) -> Identity | None:
    """The identity of the process; None if the process is gone or hidden."""
    content = read(f"/proc/{pid}/status")
    if content is None:
        return None
    # The name, in the first line, may contain any characters except a newline, which is escaped.
    pids = [int(number) for number in _field(content, b"NSpid").split()]
    uid = int(_field(content, b"Uid").split()[1])
    return Identity(_field(content, b"State")[:1].decode(), uid, pids or [pid])


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait until the process ends, for at most so many seconds; return whether the process ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:  # ENOSYS: before Linux 5.3; EMFILE
        return False
    try:
        import select  # noqa: PLC0415  (a shared library: load it only for this wait)

        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def is_stuck(pid: int, seconds: float) -> bool:
    """Whether the process stays in one uninterruptible sleep for so many seconds.

    A process that writes to a file is often in such a sleep, but for an instant: a disk takes less.
    """
    before = read(f"/proc/{pid}/status")
    if before is None or wait_for_end(pid, seconds):
        return False
    after = read(f"/proc/{pid}/status")
    return after is not None and all(
        _field(before, name) == _field(after, name)
        for name in (b"State", b"voluntary_ctxt_switches", b"nonvoluntary_ctxt_switches")
    )


def _field(content: bytes, name: bytes) -> bytes:
    _, found, after = content.partition(b"\n%b:\t" % name)
    return after[: after.find(b"\n")] if found else b""


def is_there(pid: int) -> bool:
    """Whether a process has this ID, even if ``/proc`` hides the process from us."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def start_of(pid: int) -> float | None:
    """When the process started, in seconds since the epoch, to a second; None if gone or hidden."""
    line = read(f"/proc/{pid}/stat")
    booted = read("/proc/stat")
    if line is None or booted is None:
        return None
    ticks = int(line[line.rindex(b")") + 2 :].split()[19])
    since_boot = next(row for row in booted.splitlines() if row.startswith(b"btime "))
    return int(since_boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def read(path: str) -> bytes | None:
    """The content of a file of ``/proc`` or ``/sys``; None if the file is missing or hidden.

    A process or a control group may disappear during the reading: ESRCH, ENODEV.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    try:
        content = os.read(fd, 65536)
        while more := os.read(fd, 1 << 20):
            content += more
        return content
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.ENODEV, errno.EACCES, errno.EPERM):
            raise
        return None
    finally:
        os.close(fd)


def command_line(pid: int) -> str | None:
    """The command line; None if the process is gone or hidden, or has none (a zombie)."""
    content = read(f"/proc/{pid}/cmdline")
    return os.fsdecode((content or b"").rstrip(b"\0").replace(b"\0", b" ")) or None


class Process:
    """One line of the process table."""

    __slots__ = ("ended", "group", "parent")

    def __init__(self, parent: int, group: int, ended: bool) -> None:
        self.parent = parent
        self.group = group
        self.ended = ended


def process_table() -> dict[int, Process]:
    """Every visible process, by its ID (proc_pid_stat(5))."""
    table = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            process = process_of(int(entry))
            if process is not None:
                table[int(entry)] = process
    return table


def process_of(pid: int) -> Process | None:
    """One process; None if the process is gone or hidden."""
    line = read(f"/proc/{pid}/stat")
    if line is None:
        return None
    # The name, in parentheses, may contain any characters, also parentheses and blanks.
    state, parent, group, *_ = line[line.rindex(b")") + 2 :].split()
    return Process(int(parent), int(group), state in (b"Z", b"X"))
