"""From SIGKILL to the next leader's first line, against the dying leader's memory, with a keeper."""

from __future__ import annotations

import mmap
import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.apart import apart
from benchmarks.contenders import Contender, Lead, start_election, start_raw
from benchmarks.figure import Figure
from benchmarks.stamps import PATIENCE
from benchmarks.workers import Group, settle

SIZES = (10, 100, 500, 1500)
"""Megabytes that the leader has written to, beside the interpreter's own."""

KILLS_IN_A_ROUND = 5
STANDBYS = 2
KEPT, PLAIN, RAW = "leaderlock with a keeper", "leaderlock without", "raw fcntl.flock"
SPREAD = tuple(f"{megabytes} MB" for megabytes in SIZES)

_memory: list[mmap.mmap] = []


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    figures = [_with_memory(directory, size, 1 if quick else 20) for size in SIZES]
    spread = Figure(
        "failover-keeper",
        "failover after SIGKILL with a keeper, by the leader's memory",
        "ms",
        "the samples of the four figures above",
        {name: list(figure.rows[KEPT]) for name, figure in zip(SPREAD, figures, strict=True)},
    )
    return [*figures, spread]


def _with_memory(directory: Path, megabytes: int, rounds: int) -> Figure:
    figure = Figure(
        f"failover-keeper-{megabytes}",
        f"failover after SIGKILL, a leader of {megabytes} MB",
        "ms",
        "from the kill to the first line of the next leader's task, in workers forked from one parent; "
        "the leader has written to so much memory, in pages of 4 KiB",
        {KEPT: [], PLAIN: [], RAW: []},
    )
    # Each has the machine to itself: three leaders of 1,500 MB are more than many a machine has.
    for number in range(rounds):
        for name in random.sample(list(figure.rows), 3):
            path = str(directory / f"{figure.name}-{number}-{name}.lock")
            figure.add(name, *apart(lambda n=name, p=path: _kills(n, p, megabytes)))  # type: ignore[misc]
    return figure


def _kills(name: str, path: str, megabytes: int) -> list[float]:
    os.environ["LEADERLOCK_KEEPER"] = "1" if name == KEPT else "0"
    filled = os.pipe()

    def start(path: str, lead: Lead) -> None:
        def lead_and_fill() -> None:
            lead()
            _fill(megabytes)
            os.write(filled[1], b".")

        (start_raw if name == RAW else start_election)(path, lead_and_fill)

    library = "fcntl" if name == RAW else "leaderlock.engines.file_watch"
    contender = Contender(name, start, queues=True, library=library)
    contender.load()
    if name == KEPT:
        import leaderlock.kernel.keeper  # noqa: F401  (as a server's hook imports it, before the fork)
    samples = []
    with ExitStack() as stack:
        group = stack.enter_context(Group(contender, path, STANDBYS))
        for _ in range(KILLS_IN_A_ROUND):
            os.read(filled[0], 1)
            if name == KEPT:
                _await_keeper(group.leader)
            settle(longest=0.1)
            samples.append(group.kill_leader())
    return samples


def _fill(megabytes: int) -> None:
    """Write to so much memory, a page at a time, as a heap of small objects is."""
    pages = mmap.mmap(-1, megabytes << 20)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    pages[:: mmap.PAGESIZE] = b"x" * (len(pages) // mmap.PAGESIZE)
    _memory.append(pages)


def _await_keeper(leader: int) -> None:
    from leaderlock.kernel.proc.keepers import keeper_of

    deadline = time.monotonic() + PATIENCE
    while keeper_of(leader) is None:
        if time.monotonic() > deadline:
            raise TimeoutError("the leader has no keeper: is leaderlock-native installed?")
        time.sleep(0.005)
