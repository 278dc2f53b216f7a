"""The schedule of a round: a seed decides the candidates, the place of the lock, and every fault.

A schedule is also a script, a text that a person can read, shorten and replay:

    candidates thread thread main lock
    place disk
    30 kill leader
    12 stop 2 150

The script says: after 30 ms the leader is killed; 12 ms later candidate 2 is stopped for 150 ms. The
fault `pause` does nothing.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

LEADER = -1

OF_PROCESSES = ("thread", "leased", "main", "lock", "aio", "green")
"""Candidates that the machine forks: they take commands."""
OF_PROGRAMS = ("run", "gunicorn", "uwsgi")
"""Candidates that are programs of their own; of a server, each worker stands."""


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        weight: how often it comes, beside others.
        targets: the kinds of candidates that it strikes; none: it strikes the machine or the lock file.
        leader: the share that strikes whoever leads.
        most: the longest that it lasts, in milliseconds; 0: it is over at once.
    """

    weight: float
    targets: Sequence[str] = ()
    leader: float = 0.0
    most: int = 0


EVERYWHERE = {
    "kill": Kind(6.0, (*OF_PROCESSES, *OF_PROGRAMS), 0.7),
    "stop": Kind(1.2, (*OF_PROCESSES, *OF_PROGRAMS), 0.5, 200),
    "stop-long": Kind(0.05, ("leased",), 0.5, 2500),
    "fork": Kind(1.2, OF_PROCESSES, 0.5, 200),
    "exec": Kind(1.2, OF_PROCESSES, 0.5, 60),
    "fork-exec": Kind(1.2, OF_PROCESSES, 0.5, 100),
    "emfile": Kind(1.2, OF_PROCESSES, 0.3, 150),
    "enospc": Kind(1.2, most=100),
    "int": Kind(1.2, ("main", "lock", "aio")),
    "alarm": Kind(1.2, ("main", "lock", "aio")),
    "cancel": Kind(1.2, ("aio",)),
    "green": Kind(1.2, ("green",)),
    "resign": Kind(1.2, ("thread", "leased", "main", "green"), 0.3),
    "starve": Kind(1.2, most=100),
    "memory": Kind(1.2, most=60),
}
"""Of these, none may ever lead to two leaders, or to a term that does not rise."""
OF_FILES = {
    "delete": Kind(1.2),
    "replace": Kind(1.2),
    "truncate": Kind(1.2),
    "garbage": Kind(1.2),
    "closerange": Kind(1.2, OF_PROCESSES, 0.5),
}
"""These have the windows that docs/lock.md describes."""
OF_SERVERS = {
    "reload": Kind(4.0, ("gunicorn", "uwsgi")),
    "kill-master": Kind(2.0, ("gunicorn", "uwsgi")),
    "kill-command": Kind(4.0, ("run",)),
}

ARENAS: dict[str, tuple[Sequence[str], dict[str, Kind]]] = {
    "strict": (("thread", "thread", "leased", "main", "lock", "aio", "green"), EVERYWHERE),
    "file": (
        ("thread", "thread", "leased", "main", "lock", "aio", "green"),
        {name: EVERYWHERE[name] for name in ("kill", "stop", "fork", "emfile", "int")} | OF_FILES,
    ),
    "loops": (
        ("aio", "aio", "green", "green", "leased"),
        {name: EVERYWHERE[name] for name in ("kill", "stop", "fork", "emfile", "starve")}
        | {name: EVERYWHERE[name]._replace(weight=5.0) for name in ("cancel", "green")},
    ),
    "servers": (
        ("gunicorn", "uwsgi", "run", "run", "thread", "main"),
        {name: EVERYWHERE[name] for name in ("kill", "stop", "enospc", "starve", "memory")}
        | OF_SERVERS,
    ),
}


class Fault(NamedTuple):
    """A fault.

    Attributes:
        wait: milliseconds since the fault before.
        name: of its kind.
        target: the number of a candidate, or `LEADER`.
        lasts: milliseconds.
    """

    wait: int
    name: str
    target: int = 0
    lasts: int = 0


class Schedule(NamedTuple):
    """What one round is made of.

    Attributes:
        candidates: the kind of each.
        place: "disk", or "tmpfs", a small one.
        faults: in their order.
    """

    candidates: list[str]
    place: str
    faults: list[Fault]

    def __str__(self) -> str:
        lines = [f"candidates {' '.join(self.candidates)}", f"place {self.place}"]
        for fault in self.faults:
            target = "leader" if fault.target == LEADER else fault.target
            lines.append(f"{fault.wait} {fault.name} {target} {fault.lasts}")
        return "\n".join(lines) + "\n"


def parse(text: str) -> Schedule:
    """Read a script."""
    candidates: list[str] = []
    place, faults = "disk", []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "candidates":
            candidates = words[1:]
        elif words[0] == "place":
            place = words[1]
        else:
            wait, name, target, lasts = [*words, "0", "0"][:4]
            faults.append(
                Fault(int(wait), name, LEADER if target == "leader" else int(target), int(lasts))
            )
    return Schedule(candidates, place, faults)


def draw(seed: int, arena: str, count: int, pace: float = 30.0) -> Schedule:
    """The schedule of a seed.

    Args:
        seed: decides everything.
        arena: a name of `ARENAS`.
        count: of faults.
        pace: milliseconds between two faults, on average.
    """
    dice = random.Random(f"{seed} {arena}")
    most, kinds = ARENAS[arena]
    candidates = list(most)
    if arena != "servers":
        candidates = ["thread", *dice.sample(most, dice.randint(3, len(most)))]
    names = [
        name
        for name, kind in kinds.items()
        if not kind.targets or any(candidate in kind.targets for candidate in candidates)
    ]
    weights = [kinds[name].weight for name in names]
    faults = []
    for name in dice.choices(names, weights, k=count):
        kind = kinds[name]
        able = [n for n, candidate in enumerate(candidates) if candidate in kind.targets] or [0]
        target = LEADER if dice.random() < kind.leader else dice.choice(able)
        lasts = round(kind.most ** dice.random()) if kind.most else 0
        if name == "stop-long":
            lasts = kind.most
        faults.append(Fault(round(dice.expovariate(1 / pace)), name, target, lasts))
    place = "tmpfs" if any(fault.name == "enospc" for fault in faults) else "disk"
    return Schedule(candidates, place, faults)
