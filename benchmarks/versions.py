"""Compare versions of leaderlock, each given by its source tree: failover, and a standby's memory.

`python -m benchmarks.versions . ../other-worktree` runs them side by side, in random turns, with this
interpreter and its packages.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure
from benchmarks.memory import added_in_gunicorn
from benchmarks.one_version import IN_WORKER, LATE, PREPARED, RAW
from benchmarks.server import Server
from benchmarks.workers import settle

ROOT = Path(__file__).parent.parent
KILLS_IN_A_ROUND = 5
HASH_SEEDS = 6
"""Each lays the memory out in another way, which makes a difference of 15 KiB."""

Trees = dict[str, Path]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("trees", nargs="+", metavar="[NAME=]TREE", help="the directory that has `src`")
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this; repeatable")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write every sample to this file")
    arguments = parser.parse_args()
    trees: Trees = {}
    for given in arguments.trees:
        name, _, tree = given.rpartition("=")
        trees[name or Path(tree).resolve().name] = Path(tree).resolve() / "src"
    samples = {}
    with tempfile.TemporaryDirectory(prefix="leaderlock-bench-") as directory:
        for only in arguments.only or MEASURES:
            for figure in MEASURES[only](trees, Path(directory), arguments.rounds):
                print(_table(figure, list(trees)), flush=True)
                samples[figure.name] = figure.rows
    if arguments.json:
        arguments.json.write_text(json.dumps(samples))


class Version:
    """A process with the forked standbys of one version; see `one_version`."""

    def __init__(
        self, source: Path, measure: str, directory: Path, groups: list[str], seed: int
    ) -> None:
        place = Path(tempfile.mkdtemp(dir=directory))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.one_version", measure, str(place), *groups],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source), "PYTHONHASHSEED": str(seed)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Version:
        self._answer()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self, line: str = "") -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def _failover(trees: Trees, directory: Path, rounds: int) -> list[Figure]:
    return [_kills(trees, directory, rounds, [RAW, PREPARED, IN_WORKER], "failover, 4 standbys")]


def _late(trees: Trees, directory: Path, rounds: int) -> list[Figure]:
    return [_kills(trees, directory, rounds, [RAW, LATE], "failover, workers that import themselves")]


def _kills(trees: Trees, directory: Path, rounds: int, groups: list[str], title: str) -> Figure:
    figure = Figure(title, title, "ms", "from SIGKILL to the first line of the next leader's task")
    for number in range(rounds):
        with ExitStack() as stack:
            versions = {
                name: stack.enter_context(
                    Version(source, "failover", directory, groups, number % HASH_SEEDS)
                )
                for name, source in trees.items()
            }
            turns = [(name, group) for name in versions for group in groups]
            for _ in range(KILLS_IN_A_ROUND):
                for name, group in random.sample(turns, len(turns)):
                    settle()
                    figure.add(f"{name}, {group}", versions[name].ask(group))
    return figure


def _memory(trees: Trees, directory: Path, rounds: int) -> list[Figure]:
    groups = [RAW, PREPARED, IN_WORKER]
    pss = Figure("memory", "memory that a forked standby adds", "KiB", "PSS")
    dirty = Figure("memory, written", "pages that a forked standby writes", "KiB", "Private_Dirty")
    for number in range(max(rounds, HASH_SEEDS)):
        turns = [(name, group) for name in trees for group in groups]
        for name, group in random.sample(turns, len(turns)):
            seed = number % HASH_SEEDS
            with Version(trees[name], "memory", directory, [group], seed) as version:
                settle()
                for row, values in version.ask().items():
                    figure = pss if row.endswith(", Pss") else dirty
                    figure.add(f"{name}, {group}", *values)
    return [pss, dirty]


def _gunicorn(trees: Trees, directory: Path, rounds: int) -> list[Figure]:
    title = "failover in gunicorn, 4 workers"
    figure = Figure(title, title, "ms", "from SIGKILL to the first line of the next leader's task")
    for _ in range(rounds):
        with ExitStack() as stack:
            servers = {}
            for name, source in trees.items():
                for conf, row in (("hook", PREPARED), ("thread", RAW)):
                    place = Path(tempfile.mkdtemp(dir=directory))
                    servers[f"{name}, {row}"] = stack.enter_context(Server(conf, place, source=source))
            for _ in range(KILLS_IN_A_ROUND):
                for row, server in random.sample(list(servers.items()), len(servers)):
                    settle()
                    figure.add(row, server.kill_leader())
    return [figure]


def _gunicorn_memory(trees: Trees, directory: Path, rounds: int) -> list[Figure]:
    figure = Figure("memory-gunicorn", "memory that a standby adds to a gunicorn worker", "KiB", "PSS")
    for _ in range(rounds):
        for name, source in random.sample(list(trees.items()), len(trees)):
            place = Path(tempfile.mkdtemp(dir=directory))
            for kind, added in added_in_gunicorn(place, source).items():
                figure.add(f"{name}, {kind}", added)
    return [figure]


def _table(figure: Figure, names: list[str]) -> str:
    """Each version beside the bare thread of its own parent, and the ratio to the first version's."""
    lines = [
        f"\n{figure.title}; {figure.note}\n",
        f"| | median, {figure.unit} | best quarter | against {RAW} | 95 % interval | samples |",
        "| --- " * 6 + "|",
    ]
    for row, values in figure.rows.items():
        quarter = sorted(values)[len(values) // 4]
        raw = next(f"{name}, {RAW}" for name in names if row.startswith(f"{name}, "))
        ratio = figure.ratio(row, raw)
        lines.append(
            f"| {row} | {figure.median(row):.4g} | {quarter:.4g} | {ratio.value:.3f} × "
            f"| {ratio.low:.3f} – {ratio.high:.3f} | {len(values)} |"
        )
    return "\n".join(lines)


MEASURES: dict[str, Callable[[Trees, Path, int], list[Figure]]] = {
    "memory": _memory,
    "failover": _failover,
    "late": _late,
    "gunicorn": _gunicorn,
    "gunicorn-memory": _gunicorn_memory,
}

if __name__ == "__main__":
    main()
