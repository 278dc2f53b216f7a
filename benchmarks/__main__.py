"""Run the benchmarks: all of them and write `results`, or some of them and print their tables."""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from pathlib import Path

from benchmarks.apart import apart
from benchmarks.figure import Figure

MEASURES = [
    "memory",
    "failover",
    "failover_gunicorn",
    "failover_keeper",
    "history",
    "wakeups",
    "cycle",
    "imports",
    "deadman",
    "lease",
    "inbox",
    "requests",
    "reporter",
    "status",
    "supervised_start",
    "supervised_memory",
    "supervised_signals",
    "supervised_orphans",
]
"""Modules with a function `measure`; imported in the process that measures."""

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this; repeatable")
    parser.add_argument(
        "--update", action="store_true", help="put what --only names into the results, beside the rest"
    )
    parser.add_argument("--quick", action="store_true", help="few samples: does it run at all?")
    arguments = parser.parse_args()

    # Where leaderlock-native is installed, a figure with keepers says so.
    os.environ["LEADERLOCK_KEEPER"] = "0"
    figures: list[Figure] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="leaderlock-bench-") as directory:
        for name in arguments.only or MEASURES:
            begin = time.monotonic()
            print(f"{name} …", end=" ", flush=True)
            figures += apart(lambda name=name: _measure(name, Path(directory), arguments.quick))  # type: ignore[misc]
            print(f"{time.monotonic() - begin:.0f} s", flush=True)
    from benchmarks import report  # with all that was compared, and this process is forked from

    if arguments.update:
        figures = report.updated(figures, RESULTS)
    elif arguments.only or arguments.quick:
        print(report.markdown(figures, load))
        return
    from benchmarks.plots import draw

    report.write(figures, load, RESULTS)
    draw(figures, RESULTS)
    print(report.markdown(figures, load).split("!")[0])
    print(f"written to {RESULTS.relative_to(Path.cwd())}")


def _measure(name: str, directory: Path, quick: bool) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").measure(
        directory, quick=quick
    )
    return figures


if __name__ == "__main__":
    main()
