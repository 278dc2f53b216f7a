"""docs/comparison.md says what was measured, and what the others do."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fasteners
import filelock
import portalocker
import pytest

from benchmarks import fleet_peers, fleet_simulation
from benchmarks.comparison import PAGE, RESULTS, filled
from leaderlock import LeaderLock


def test_the_figures_are_those_that_were_measured() -> None:
    page = PAGE.read_text(encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert filled(page, results) == page, "run: python -m benchmarks.comparison"

    others = copy.deepcopy(results)
    for figure in others["figures"]:
        figure["samples"] = {name: [77.7] for name in figure["samples"]}
    assert filled(page, others).count("77.7") == 5 * 4 + 4 * 4


def test_the_table_of_the_peers_is_what_was_measured() -> None:
    page = fleet_peers.PAGE.read_text(encoding="utf-8")
    document = json.loads(fleet_peers.RESULTS.read_text(encoding="utf-8"))
    assert fleet_peers.filled(page, document) == page, "run: make fleet-peers"
    document["contenders"]["kazoo"]["waiting"] = 777.7
    assert "777.7" in fleet_peers.filled(page, document)


def test_the_page_of_the_large_fleet_is_what_the_simulation_prints() -> None:
    page = fleet_simulation.PAGE.read_text(encoding="utf-8")
    assert fleet_simulation.filled(page) == page, "run: python -m benchmarks.fleet_simulation --write"


@pytest.mark.parametrize("scheme", fleet_simulation.ENGINES)
def test_the_simulation_expects_the_lateness_that_was_measured(scheme: str) -> None:
    costs = fleet_simulation.measured_costs()[scheme]
    # The measured lease is 2 s, and the tick of the tests' ZooKeeper is half a second.
    engine = fleet_simulation.ENGINES[scheme]
    expected = [engine.late(random.Random(seed), 2.0, 0.5) for seed in range(100)]
    assert min(expected) - 0.1 < costs.late_s < max(expected) + 0.4


def test_the_simulation_has_the_rare_requests_that_the_engines_send() -> None:
    from leaderlock.engines.postgresql.connecting import SLICE
    from leaderlock.engines.redis import candidacy

    every = {scheme: engine.every(10) for scheme, engine in fleet_simulation.ENGINES.items()}
    assert every["postgresql"] == SLICE
    assert every["redis"] == candidacy.SLICE


LOCKS: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "leaderlock": (LeaderLock, False),
    "filelock": (filelock.FileLock, False),
    "portalocker": (lambda path: portalocker.Lock(path, "w"), True),
    "fasteners": (fasteners.InterProcessLock, False),
}


@pytest.mark.parametrize("name", LOCKS)
def test_whether_a_forked_child_keeps_a_killed_holders_lock(path: Path, name: str) -> None:
    make, keeps = LOCKS[name]
    told, tell = os.pipe()
    kept, keep = os.pipe()  # the child lives for as long as we hold its other end
    holder = os.fork()
    if holder == 0:
        lock = make(path)
        lock.acquire()
        if os.fork() == 0:
            os.close(keep)
            os.write(tell, b"x")
            os.read(kept, 1)
            os._exit(lock is None)
        os.close(keep)
        signal.pause()
    os.close(tell)
    assert os.read(told, 1) == b"x"  # by the child, after all that it does at a fork
    held_before = is_held(path, name)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    held_after = is_held(path, name)
    for end in (told, kept, keep):
        os.close(end)
    assert (held_before, held_after) == (True, keeps)


def is_held(path: Path, name: str) -> bool:
    with path.open("a") as file:
        try:
            (fcntl.lockf if name == "fasteners" else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize("drawing", ["flock.svg", "health.svg"])
def test_each_colour_of_a_drawing_has_one_for_dark_mode(drawing: str) -> None:
    text = (Path(__file__).parent.parent / "docs" / drawing).read_text(encoding="utf-8")
    style = text.partition("<style>")[2].partition("</style>")[0]
    assert "prefers-color-scheme: dark" in style
    used = set(re.findall(r'[ (](fill|stroke)="(#[0-9a-f]{6})"', text.replace("\n", " ")))
    mapped = set(re.findall(r'\[(fill|stroke)="(#[0-9a-f]{6})"\]', style))
    assert used == mapped
