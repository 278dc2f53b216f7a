"""What a parked standby adds to a worker: proportional set size (PSS), shared pages shared out."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import mean

from benchmarks.contenders import CONTENDERS, Contender, Lead
from benchmarks.figure import Figure
from benchmarks.server import WORKERS, Server
from benchmarks.workers import Group, await_queue, forked, settle
from leaderlock import Election, Leadership
from leaderlock.election.rehearsal import rehearse_before_fork
from leaderlock.kernel import lock_table

REQUESTS = 1200
QUEUED = [contender for contender in CONTENDERS if contender.queues]
PREPARED = "leaderlock, prepared before the fork"


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    rounds = 1 if quick else 10
    return [_forked(directory, rounds), _in_gunicorn(directory, rounds)]


def _forked(directory: Path, rounds: int) -> Figure:
    figure = Figure(
        "memory",
        "memory that a parked standby adds to a forked worker",
        "KiB",
        "PSS of each standby, less the mean of plain workers of the same parent at the same moment; "
        "prepared as the server hooks do it, or made in the worker",
        {contender.name: [] for contender in QUEUED},
    )
    for number in range(rounds):
        with ExitStack() as stack:
            plain = [stack.enter_context(forked(lambda: None)) for _ in range(WORKERS)]
            groups = []
            for contender in QUEUED:
                path = str(directory / f"memory-{number}-{contender.name}.lock")
                groups.append(stack.enter_context(Group(contender, path, WORKERS)))
            path = str(directory / f"memory-{number}-prepared.lock")
            groups.append(stack.enter_context(Group(_prepared(path), path, WORKERS)))
            settle()
            base = mean(pss(pid) for pid in plain)
            for group in groups:
                standbys = [pid for pid in group.pids if pid != group.leader]
                figure.add(group.contender.name, *(pss(pid) - base for pid in standbys))
    return figure


def _in_gunicorn(directory: Path, rounds: int) -> Figure:
    figure = Figure(
        "memory-gunicorn",
        "memory that a parked standby adds to a gunicorn worker",
        "KiB",
        "mean PSS of the workers that stand by, after some requests, less that of those of the same "
        "server that do not stand",
    )
    for number in range(rounds):
        place = directory / f"memory-{number}"
        place.mkdir()
        for name, added in added_in_gunicorn(place).items():
            figure.add({HOOK: "leaderlock's hook"}.get(name, name), added)
    return figure


HOOK = "prepared before the fork"


def added_in_gunicorn(place: Path, source: Path | None = None) -> dict[str, float]:
    """KiB that a standby adds to a worker of one server: by the hook, and by a bare thread.

    Args:
        place: an empty directory.
        source: the directory of another version's package.
    """
    server = Server("mixed", place, leads=False, workers=3 * WORKERS, source=source)
    paths = {HOOK: server.lock, "bare flock thread": Path(f"{server.lock}.thread")}
    for path in paths.values():
        path.touch(0o600)  # so that its queue can be looked at before the first worker stands
    added = {}
    with server:
        for path in paths.values():
            await_queue(str(path), WORKERS - 1)
        server.serve(REQUESTS)  # what the worker itself uses is not the standby's
        time.sleep(1)
        workers = set(server.workers())
        table = [entry for entry in lock_table() or [] if entry.pid in workers]
        idle = workers - {entry.pid for entry in table}
        base = mean(pss(pid) for pid in idle)
        for name, path in paths.items():
            inode = path.stat().st_ino
            standbys = [entry.pid for entry in table if entry.inode == inode and entry.waiting]
            added[name] = mean(pss(pid) for pid in standbys if pid) - base
    return added


def _prepared(path: str) -> Contender:
    election = Election(path)
    rehearse_before_fork()
    return Contender(PREPARED, lambda _, lead: _start(election, lead), queues=True)


def _start(election: Election, lead: Lead) -> None:
    def task(leadership: Leadership) -> None:
        lead()
        leadership.stopping.wait()

    election.start_unchecked(task)


def pss(pid: int) -> float:
    """KiB, with each shared page divided by the number of processes that share it (proc(5))."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise ValueError(f"no PSS of process {pid}")
