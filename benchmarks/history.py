"""What the history adds to failover: as in failover.py, with it and with its entries left out."""

from __future__ import annotations

from pathlib import Path

from benchmarks.apart import apart
from benchmarks.contenders import CONTENDERS, Contender, Lead
from benchmarks.failover import kills
from benchmarks.figure import Figure

LEADERLOCK = CONTENDERS[0]


def _without(path: str, lead: Lead) -> None:
    from leaderlock.lock.acquisition import Hold

    Hold.journal = lambda *_: None  # type: ignore[method-assign]
    Hold._archive = lambda *_: None  # type: ignore[method-assign]
    LEADERLOCK.start(path, lead)


WITH = LEADERLOCK._replace(name="with history")
WITHOUT = Contender("without history", _without, queues=True, library="leaderlock.lock.acquisition")


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    figure = Figure(
        "history",
        "failover after SIGKILL, 4 standbys, and the history's part of it",
        "ms",
        "from the kill to the first line of the next leader's task; both by turns",
        {WITH.name: [], WITHOUT.name: []},
    )
    for number in range(2 if quick else 16):
        paths = {c.name: str(directory / f"history-{number}-{c.name}.lock") for c in (WITH, WITHOUT)}
        for name, milliseconds in apart(lambda p=paths: kills([WITH, WITHOUT], p, 4)):  # type: ignore[misc]
            figure.add(name, milliseconds)
    return [figure]
