"""What an import adds to a bare interpreter: whole runs of fresh ones, bytecode compiled before."""

from __future__ import annotations

import compileall
import os
import random
import sys
from pathlib import Path

import leaderlock
from benchmarks.figure import Figure

BARE = "bare interpreter"
PROGRAMS = {
    "leaderlock": "import leaderlock",
    # The names are imported when they are first used, which the line above does not do.
    "leaderlock.LeaderLock": "from leaderlock import LeaderLock",
    "leaderlock.Election": "from leaderlock import Election",
    "fasteners": "import fasteners",
    "portalocker": "import portalocker",
    "filelock": "import filelock",
}


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    compileall.compile_dir(str(Path(leaderlock.__file__).parent), quiet=2)
    programs = {BARE: "pass", **PROGRAMS}
    for program in programs.values():  # compiles what is not yet, and warms the page cache
        _run(program)
    runs: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(5 if quick else 60):
        for name, program in random.sample(sorted(programs.items()), len(programs)):
            runs[name].append(_run(program))
    figure = Figure(
        "import",
        "import, over a bare interpreter",
        "ms",
        "processor time of fresh interpreters, less that of a bare one in the same round",
    )
    for name in PROGRAMS:
        figure.add(name, *(run - bare for run, bare in zip(runs[name], runs[BARE], strict=True)))
    return [figure]


def _run(program: str) -> float:
    return processor_time("-I", "-c", program)


def processor_time(*words: str) -> float:
    """A fresh interpreter's, in ms: others disturb it less than its wall time. It prints to nowhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *words], environment, file_actions=silent)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"python {words} failed with status {status}")
    return (used.ru_utime + used.ru_stime) * 1000
