"""How often a parked standby wakes: the context switches of all its threads in ten seconds."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import CONTENDERS
from benchmarks.figure import Figure
from benchmarks.workers import Group, settle


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    seconds = 2 if quick else 10
    figure = Figure(
        "wakeups",
        "wakeups of a parked standby in 10 s",
        "wakeups",
        "context switches of all threads of each of 4 standbys (/proc/PID/task/*/status)",
    )
    with ExitStack() as stack:
        groups = [
            stack.enter_context(Group(contender, str(directory / f"wakeups-{contender.name}.lock"), 4))
            for contender in CONTENDERS
        ]
        settle()
        time.sleep(1)
        before = {pid: switches(pid) for group in groups for pid in group.pids}
        time.sleep(seconds)
        for group in groups:
            for pid in group.pids:
                if pid != group.leader:
                    woken = switches(pid) - before[pid]
                    figure.add(group.contender.name, woken * 10 / seconds)
    return [figure]


def switches(pid: int) -> int:
    """Voluntary and other context switches of a process since its start."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text(encoding="ascii", errors="replace").splitlines()
        if "ctxt_switches:" in line
    )
