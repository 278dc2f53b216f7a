"""From SIGKILL of the leader to the first line of the next one's task, between forked workers."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

from benchmarks.apart import apart
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.figure import Figure
from benchmarks.workers import Group, settle

KILLS_IN_A_ROUND = 5
# Those that wait in the kernel disturb nobody, so their kills take turns, and whatever else the machine
# does hits both alike. Those that poll have the machine to themselves.
BATCHES = [
    [contender for contender in CONTENDERS if contender.queues],
    *([contender] for contender in CONTENDERS if not contender.queues),
]


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    return [
        _with_standbys(directory, 4, 1 if quick else 20),
        _with_standbys(directory, 64, 1 if quick else 20),
    ]


def _with_standbys(directory: Path, standbys: int, rounds: int) -> Figure:
    figure = Figure(
        f"failover-{standbys}",
        f"failover after SIGKILL, {standbys} standbys",
        "ms",
        "from the kill to the first line of the next leader's task, in workers forked from one parent",
        {contender.name: [] for contender in CONTENDERS},
    )
    for number in range(rounds):
        for together in random.sample(BATCHES, len(BATCHES)):
            paths = {c.name: str(directory / f"{figure.name}-{number}-{c.name}.lock") for c in together}
            for name, milliseconds in apart(lambda c=together, p=paths: kills(c, p, standbys)):  # type: ignore[misc]
                figure.add(name, milliseconds)
    return figure


def kills(contenders: list[Contender], paths: dict[str, str], standbys: int) -> list[tuple[str, float]]:
    """Kill the leaders of one parent's groups by turns: each contender's name and the time in ms."""
    for contender in contenders:
        contender.load()
    samples = []
    with ExitStack() as stack:
        groups = [stack.enter_context(Group(c, paths[c.name], standbys)) for c in contenders]
        for _ in range(KILLS_IN_A_ROUND):
            for group in random.sample(groups, len(groups)):
                settle(longest=0.25)
                samples.append((group.contender.name, group.kill_leader()))
    return samples
