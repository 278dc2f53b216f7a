"""What a parent keeps resident beside its command, while that runs."""

from __future__ import annotations

import random
import select
import time
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.supervisors import running, supervisors

COMMAND = ["sh", "-c", "echo up; exec sleep 600"]


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    contenders = supervisors(directory)
    figure = Figure(
        "supervised-memory",
        "resident memory of the parent of a running command",
        "MiB",
        "VmRSS, shared pages included, 0.2 s after the command's start; 0 if the command has taken the "
        "parent's place",
        {name: [] for name, _ in contenders},
    )
    for _ in range(1 if quick else 10):
        for name, words in random.sample(contenders, len(contenders)):
            with running(words, *COMMAND) as process:
                assert process.stdout is not None
                if not select.select([process.stdout], [], [], 30)[0]:
                    raise TimeoutError(f"{name} has not started its command")
                time.sleep(0.2)
                figure.add(name, _resident_beside_command(process.pid))
    return [figure]


def _resident_beside_command(pid: int) -> float:
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
        if ":\t" in line
    )
    if status["Name"] == "sleep":
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
        assert not children, "it has a process beside it"
        return 0.0
    return int(status["VmRSS"].split()[0]) / 1024
