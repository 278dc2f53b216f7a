"""Simulates elections in a fleet that no test can start, for docs/explanation/fleet-at-scale.md.

python -m benchmarks.fleet_simulation [--write]

The constants of the four engines are those that `fleet_costs` has measured. The page says what the
simulation assumes. The numbers are the same at each run: each engine has a random generator of its own,
with a fixed seed.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
COSTS = ROOT / "benchmarks" / "results" / "fleet-costs.json"
LOCAL = ROOT / "benchmarks" / "results" / "results.json"
PAGE = ROOT / "docs" / "explanation" / "fleet-at-scale.md"

CONTAINERS, WORKERS = 10_000, 8
LEASE = 10.0
TICK = 2.0
"""ZooKeeper's default."""
FAULTS = 500
"""How often the leader fails, in the simulation of one engine and tier."""
QUIET = 60.0
"""The mean time between a leader's election and the next fault, in seconds."""
LEAST_MEMORY = 0.05
"""MiB: less than that for a candidate is lost in the noise of a server's memory."""
LIFE = 0.97
"""The part of a lease after which the kernel kills a leader that is not confirmed."""
RENEWALS = 4


class Costs(NamedTuple):
    """What `fleet_costs` has measured of one server.

    Attributes:
        connections: of a waiting candidate.
        memory_mib: of the server, for a waiting candidate.
        waiting_requests_a_lease: of a waiting candidate, while nothing happens.
        woken_requests: of each waiting candidate, when a leader resigns.
        election_requests: of the others, when a leader resigns.
        renewal_requests: of a leader, for each renewal.
        requests_a_second: the most that the server has served.
        late_s: from the end of a killed leader's lease to the next leader, with a lease of 2 s.
        take_over_s: for a claim by a process of the same machine, with the connection.
    """

    connections: float
    memory_mib: float
    waiting_requests_a_lease: float
    woken_requests: float
    election_requests: float
    renewal_requests: float
    requests_a_second: float
    late_s: float
    take_over_s: float


class Engine(NamedTuple):
    """What the simulation knows of an engine, apart from the costs.

    Attributes:
        name: for the tables.
        late: a random time from the end of the lease to the next leader, given the lease and a tick.
        rare: requests of a waiting candidate that come too seldom to be measured.
        every: seconds between two of them, given the lease.
        told: messages of the server to a waiting candidate, for each renewal of the leader.
    """

    name: str
    late: Callable[[random.Random, float, float], float]
    rare: float
    every: Callable[[float], float]
    told: int = 0


ENGINES = {
    # The next leader waits 1.025 leases by the server's clock (postgresql/candidacy.py), and begins its
    # wait for the lock anew every 300 s (postgresql/connecting.py) by two statements.
    "postgresql": Engine("PostgreSQL", lambda rng, lease, tick: 0.025 * lease, 2, lambda lease: 300),
    # A session is 1.26 leases and one tick (zookeeper/timing.py); its end is rounded up to a tick.
    "zookeeper": Engine(
        "ZooKeeper",
        lambda rng, lease, tick: 0.26 * lease + tick + rng.uniform(0, tick),
        0,
        lambda lease: 1,
    ),
    # A candidate counts 1.02 leases from a renewal (etcd/candidacy.py), and its turn comes within 0.025
    # leases (leased/turns.py). etcd tells it of each renewal.
    "etcd": Engine(
        "etcd",
        lambda rng, lease, tick: 0.02 * lease + rng.uniform(0, 0.025 * lease),
        0,
        lambda lease: 1,
        told=1,
    ),
    # Redis looks ten times a second for keys that have expired (its setting hz); a candidate tries anew
    # every 600 s (redis/candidacy.py). Its turn comes within 0.025 leases (leased/turns.py).
    "redis": Engine(
        "Redis",
        lambda rng, lease, tick: rng.uniform(0, 0.1) + rng.uniform(0, 0.025 * lease),
        1,
        lambda lease: 600,
    ),
}


class Server:
    """A server that serves requests in the order in which they come, at a constant rate."""

    def __init__(self, requests_a_second: float) -> None:
        self._rate = requests_a_second
        self._free = 0.0

    def serve(self, moment: float, requests: float) -> float:
        """When the last of some requests is answered that arrive at a moment."""
        self._free = max(self._free, moment) + requests / self._rate
        return self._free


class Outcome(NamedTuple):
    """What came of a leader's fault.

    Attributes:
        failover: seconds from the fault to the next leader.
        busy: seconds in which the server then answers the candidates that were woken.
        lost: how many leaders could not renew meanwhile, and died.
    """

    failover: float
    busy: float
    lost: int


def faults(
    engine: Engine, costs: Costs, candidates: int, rng: random.Random, *, is_local: bool
) -> Iterator[Outcome]:
    """Let leaders fail, each at a random moment.

    Args:
        engine, costs: of the server.
        candidates: how many wait in the engine.
        rng: for the moments.
        is_local: whether a process of the same machine takes the claim over.
    """
    server, moment, wake = Server(costs.requests_a_second), 0.0, local_wake()
    for _ in range(FAULTS):
        moment += rng.expovariate(1 / QUIET)
        if is_local:
            yield Outcome(wake + costs.take_over_s, 0.0, 0)
            continue
        struck = moment
        confirmed = struck - rng.uniform(0, LEASE / RENEWALS)
        dropped = confirmed + LEASE + engine.late(rng, LEASE, TICK)
        leads = first = server.serve(dropped, costs.election_requests)
        calm = server.serve(dropped, candidates * costs.woken_requests)
        lost = 0
        while calm > leads + LIFE * LEASE:  # its renewals wait behind the woken candidates
            leads += LEASE + engine.late(rng, LEASE, TICK)
            lost += 1
        moment = max(calm, leads)
        yield Outcome(first - struck, calm - dropped, lost)


class Row(NamedTuple):
    """A line of the table: one engine and tier."""

    engine: str
    tiers: int
    sessions: float
    memory_gib: float
    quiet: float
    woken: float
    busy: float
    lost: int
    worker: list[float]
    container: list[float]


def simulate(scheme: str, tiers: int, costs: Costs) -> Row:
    """One engine, with each worker as a candidate (1), or each container (2)."""
    engine = ENGINES[scheme]
    candidates = CONTAINERS * (WORKERS if tiers == 1 else 1)
    rng = random.Random(f"{scheme} {tiers}")
    container = list(faults(engine, costs, candidates, rng, is_local=False))
    worker = list(faults(engine, costs, candidates, rng, is_local=tiers == 2))
    quiet = costs.renewal_requests * RENEWALS / LEASE + candidates * (
        (costs.waiting_requests_a_lease + RENEWALS * engine.told) / LEASE
        + engine.rare / engine.every(LEASE)
    )
    return Row(
        engine.name,
        tiers,
        candidates * costs.connections,
        candidates * max(costs.memory_mib, LEAST_MEMORY) / 1024,
        quiet,
        candidates * costs.woken_requests + costs.election_requests,
        median(outcome.busy for outcome in container),
        max(outcome.lost for outcome in container),
        sorted(outcome.failover for outcome in worker),
        sorted(outcome.failover for outcome in container),
    )


def measured_costs() -> dict[str, Costs]:
    """The constants of each engine, by its scheme."""
    found = json.loads(COSTS.read_text(encoding="utf-8"))
    return {scheme: Costs(**costs) for scheme, costs in found.items()}


def local_wake() -> float:
    """Seconds from a leader's death to the next process of its machine, as `failover` has measured."""
    document = json.loads(LOCAL.read_text(encoding="utf-8"))
    [figure] = [figure for figure in document["figures"] if figure["name"] == "failover-4"]
    assert figure["unit"] == "ms"
    samples: list[float] = figure["samples"]["leaderlock"]
    return median(samples) / 1000


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _times(seconds: list[float]) -> str:
    last = seconds[len(seconds) * 99 // 100]
    if last < 0.5:
        return f"{median(seconds) * 1000:.0f} ms"
    return f"{median(seconds):.1f} s ({last:.1f} s)"


def constants_table() -> str:
    """The measured constants, and the lateness that the model expects for the same lease."""
    heads = [
        "constant",
        *(engine.name for engine in ENGINES.values()),
    ]
    costs = measured_costs()
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    labels = {
        "connections": ("connections of a waiting candidate", "{:.0f}"),
        "memory_mib": ("memory of the server for that, MiB", "{:.2f}"),
        "waiting_requests_a_lease": ("requests of a waiting candidate in a lease", "{:.1f}"),
        "woken_requests": ("requests of each waiting candidate when the leader goes", "{:.1f}"),
        "election_requests": ("requests of the others then", "{:.0f}"),
        "renewal_requests": ("requests of a renewal", "{:.1f}"),
        "requests_a_second": ("requests a second that the server serves", "{:,.0f}"),
        "late_s": ("next leader after the end of a lease of 2 s", "{:.2f} s"),
        "take_over_s": ("take-over on the same machine", "{:.3f} s"),
    }
    for name, (label, shown) in labels.items():
        cells = [shown.format(getattr(costs[scheme], name)) for scheme in ENGINES]
        if name == "memory_mib":
            cells = [
                cell if costs[scheme].memory_mib >= LEAST_MEMORY else f"less than {LEAST_MEMORY}"
                for cell, scheme in zip(cells, ENGINES, strict=True)
            ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fleet_table() -> str:
    """What the simulation shows."""
    heads = (
        "| engine | tiers | sessions | memory of the server | messages a second"
        " | messages at a failover | the server is busy then"
        " | worker killed: next leader | container lost: next leader |"
    )
    lines = [heads, "| --- " * 9 + "|"]
    for scheme, costs in measured_costs().items():
        for tiers in (1, 2):
            row = simulate(scheme, tiers, costs)
            busy = f"{row.busy:.1f} s"
            if row.lost:
                busy += f"; leaders that cannot renew meanwhile: {row.lost}"
            cells = [
                row.engine,
                str(row.tiers),
                _count(row.sessions),
                f"{row.memory_gib:.1f} GiB",
                _count(row.quiet),
                _count(row.woken),
                busy,
                _times(row.worker),
                _times(row.container),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"constants": constants_table, "fleet": fleet_table}


def filled(page: str) -> str:
    """The page, with the tables between their marks."""
    for name, table in TABLES.items():
        page, count = re.subn(
            rf"(?s)(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{table()}\n\g<2>", page
        )
        assert count == 1, f"{PAGE} has no place for {name}"
    return page


if __name__ == "__main__":
    for table in TABLES.values():
        print(table(), end="\n\n")
    if "--write" in sys.argv:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
