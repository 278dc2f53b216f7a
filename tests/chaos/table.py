"""The table of what struck, for docs/proof.md: python -m tests.chaos.table RESULTS…

Each file has a line of JSON for each round, as `python -m tests.chaos --results` writes it.
"""

from __future__ import annotations

import collections
import json
import statistics
import sys
from pathlib import Path
from typing import Any

NAMES = {
    "kill": "SIGKILL to a process",
    "kill-command": "SIGKILL to the command of `leaderlock run`",
    "kill-master": "SIGKILL to gunicorn's or uWSGI's master",
    "stop": "SIGSTOP, and SIGCONT up to 200 ms later, or longer than the lease",
    "fork": "fork from a thread, the child outlives its leader",
    "exec": "exec of another program",
    "fork-exec": "fork from a thread and exec",
    "emfile": "no descriptor left (EMFILE)",
    "enospc": "no space left (ENOSPC), on a small tmpfs",
    "int": "KeyboardInterrupt from SIGINT",
    "alarm": "an exception from SIGALRM",
    "cancel": "asyncio: the task is cancelled",
    "green": "gevent: a green thread that waits or holds is killed",
    "resign": "resignation in good order",
    "starve": "a busy process for each processor",
    "memory": "no memory left in the control group",
    "delete": "lock file deleted",
    "replace": "lock file replaced",
    "truncate": "lock file cut short",
    "garbage": "lock file overwritten with garbage",
    "closerange": "`os.closerange(3, 4096)`",
    "reload": "HUP to gunicorn or uWSGI",
    "removed by the operator": "garbage that nobody could mend: the file was removed",
    "cut": "link cut",
    "hears nothing": "link cut, one way: hears nothing",
    "heard by nobody": "link cut, one way: heard by nobody",
    "server crash": "server killed, and started again",
    "server restart": "server stopped in good order, and started again",
    "server pause": "server stopped (SIGSTOP)",
}


def read(paths: list[str]) -> list[dict[str, Any]]:
    """The rounds."""
    return [
        json.loads(line)
        for path in paths
        for line in Path(path).read_text(encoding="ascii").splitlines()
    ]


def table(rounds: list[dict[str, Any]]) -> str:
    """What struck how often, and what came of it."""
    struck: collections.Counter[str] = collections.Counter()
    for entry in rounds:
        struck.update(entry["struck"])
    struck["stop"] += struck.pop("stop-long", 0)
    gaps = sorted(gap / 1e6 for entry in rounds for gap in entry["gaps"])
    lines = ["| fault | struck |", "| --- | --- |"]
    lines += [f"| {text} | {struck.pop(name):,} |" for name, text in NAMES.items() if name in struck]
    lines += [f"| {name} | {count:,} |" for name, count in sorted(struck.items())]
    seeds = collections.defaultdict(list)
    for entry in rounds:
        seeds[entry["arena"]].append(entry["seed"])
    lines += ["", "| arena | rounds | seeds | terms | violations |", "| --- | --- | --- | --- | --- |"]
    for arena, mine in seeds.items():
        chosen = [entry for entry in rounds if entry["arena"] == arena]
        terms = sum(entry["terms"] for entry in chosen)
        wrong = sum(len(entry["violations"]) for entry in chosen)
        lines.append(f"| {arena} | {len(mine)} | {spans(mine)} | {terms:,} | {wrong} |")
    if gaps:
        lines += [
            "",
            f"Nobody led {len(gaps):,} times: {statistics.median(gaps):.1f} ms in the median,"
            f" {gaps[int(len(gaps) * 0.99)]:.0f} ms in the 99th percentile,"
            f" {gaps[-1] / 1000:.1f} s at most.",
        ]
    return "\n".join(lines)


def spans(numbers: list[int]) -> str:
    """Numbers, runs of them written as "1 to 5"."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in found)


if __name__ == "__main__":
    print(table(read(sys.argv[1:])))
