"""The forked standbys of one version of leaderlock; `versions` starts this with its source tree.

Nothing here imports leaderlock before the fork, unless the measurement says so. The answers are lines
of JSON, one for each line of the standard input.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.contenders import Contender, Lead, start_election, start_raw
from benchmarks.stamps import LONG
from benchmarks.workers import Group, forked

STANDBYS = 4
RAW = "bare flock thread"
PREPARED = "prepared before the fork"
IN_WORKER = "made in the worker"
LATE = "imported after the fork"

_REHEARSALS = ("leaderlock.election.rehearsal", "leaderlock.rehearsal")
_NEEDS = ("leaderlock.engines.file_watch", "leaderlock.lookout", "leaderlock.kernel.handlers")
"""Modules of one version or another."""


def _known(names: tuple[str, ...]) -> list[Any]:
    modules = []
    for name in names:
        with contextlib.suppress(ModuleNotFoundError):
            modules.append(importlib.import_module(name))
    return modules


def _import_before_fork() -> None:
    """Import what a leader needs, above all ctypes; an `Election` imports the rest when it is made."""
    from leaderlock import Election

    Election("imports.lock")
    _known(_NEEDS)


def _prepared(path: str) -> Callable[[str, Lead], None]:
    from leaderlock import Election, Leadership

    election = Election(path)
    _known(_REHEARSALS)[0].rehearse_before_fork()

    def start(_: str, lead: Lead) -> None:
        def task(leadership: Leadership) -> None:
            lead()
            leadership.wait(LONG)

        election.start_unchecked(task)  # as a server's hook does

    return start


def _groups(directory: Path, names: list[str]) -> dict[str, Group]:
    """Groups that are not started, in an order in which none profits from another's preparation."""
    path = str(directory / "prepared.lock")
    starts = {LATE: start_election, RAW: start_raw, IN_WORKER: start_election}
    groups = {}
    for name in (LATE, RAW, IN_WORKER, PREPARED):
        if name in names:
            contender = Contender(name, starts.get(name, start_raw), queues=True)
            file = path if name == PREPARED else str(directory / f"{name}.lock")
            groups[name] = Group(contender, file, STANDBYS)
    return groups


def _prepare(groups: dict[str, Group]) -> None:
    if IN_WORKER in groups or PREPARED in groups:
        _import_before_fork()
    if PREPARED in groups:
        group = groups[PREPARED]
        group.contender = Contender(PREPARED, _prepared(group.path), queues=True)


def _start(stack: ExitStack, groups: dict[str, Group]) -> None:
    for group in groups.values():
        stack.enter_context(group)


def _failover(directory: Path, names: list[str]) -> None:
    """Each line names a group, whose leader is killed; answer with the milliseconds."""
    with ExitStack() as stack:
        if IN_WORKER in names or PREPARED in names:
            _import_before_fork()  # so that the leaders of all groups are of one size
        groups = _groups(directory, names)
        prepared = {PREPARED: groups.pop(PREPARED)} if PREPARED in names else {}
        _start(stack, groups)
        _prepare(prepared)
        _start(stack, prepared)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            print(json.dumps({**groups, **prepared}[line.strip()].kill_leader()), flush=True)


def _memory(directory: Path, names: list[str]) -> None:
    """Answer with KiB that a standby of the only group adds: PSS, and pages of its own that it wrote.

    Plain workers of the same parent are forked at the same time: later the parent writes to its pages.
    """
    with ExitStack() as stack:
        _import_before_fork()
        groups = _groups(directory, names)
        _prepare(groups)
        plain = [stack.enter_context(forked(lambda: None)) for _ in range(STANDBYS)]
        _start(stack, groups)
        print(json.dumps("ready"), flush=True)
        sys.stdin.readline()
        answer = {}
        for field in ("Pss", "Private_Dirty"):
            base = mean(_kib(pid, field) for pid in plain)
            for name, group in groups.items():
                standbys = [pid for pid in group.pids if pid != group.leader]
                answer[f"{name}, {field}"] = [_kib(pid, field) - base for pid in standbys]
        print(json.dumps(answer), flush=True)


def _kib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return float(line.split()[1])
    raise ValueError(f"no {field} of process {pid}")


if __name__ == "__main__":
    measure = {"failover": _failover, "memory": _memory}[sys.argv[1]]
    measure(Path(sys.argv[2]), sys.argv[3:])
