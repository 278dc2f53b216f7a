"""From the start of a supervised `true` to its parent's exit."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.supervisors import NONE, environment, supervisors, time_of, versions

BARE = "python3 -I -c pass"


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    commands = {BARE: [sys.executable, "-I", "-c", "pass"], NONE: ["true"]}
    commands.update({name: [*words, "true"] for name, words in supervisors(directory)})
    figure = Figure(
        "supervised-start",
        "start to exit of a supervised `true`",
        "ms",
        "whole runs, with bytecode compiled before, as an installation does; an interpreter alone for "
        f"comparison; {versions()}",
        {name: [] for name in commands},
    )
    variables = environment()
    for words in commands.values():  # warms the page cache
        time_of(words, variables)
    for _ in range(5 if quick else 100):
        for name in random.sample(sorted(commands), len(commands)):
            figure.add(name, time_of(commands[name], variables) / 1e6)
    return [figure]
