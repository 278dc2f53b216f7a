"""Run the benchmarks: all of them and write `results`, or some of them and print their tables."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks import (
    cycle,
    deadman,
    failover,
    failover_gunicorn,
    imports,
    inbox,
    lease,
    memory,
    report,
    supervised_memory,
    supervised_orphans,
    supervised_signals,
    supervised_start,
    wakeups,
)
from benchmarks.figure import Figure

# Memory first, while this process, which is the workers' parent, is still small.
MEASURES = {
    "memory": memory.measure,
    "failover": failover.measure,
    "failover_gunicorn": failover_gunicorn.measure,
    "wakeups": wakeups.measure,
    "cycle": cycle.measure,
    "imports": imports.measure,
    "deadman": deadman.measure,
    "lease": lease.measure,
    "inbox": inbox.measure,
    "supervised_start": supervised_start.measure,
    "supervised_memory": supervised_memory.measure,
    "supervised_signals": supervised_signals.measure,
    "supervised_orphans": supervised_orphans.measure,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this; repeatable")
    parser.add_argument("--quick", action="store_true", help="few samples: does it run at all?")
    arguments = parser.parse_args()

    figures: list[Figure] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="leaderlock-bench-") as directory:
        for name in arguments.only or MEASURES:
            begin = time.monotonic()
            print(f"{name} …", end=" ", flush=True)
            figures += MEASURES[name](Path(directory), quick=arguments.quick)
            print(f"{time.monotonic() - begin:.0f} s", flush=True)
    if arguments.only or arguments.quick:
        print(report.markdown(figures, load))
        return
    from benchmarks.plots import draw  # matplotlib is large, and this process is forked from

    report.write(figures, load, RESULTS)
    draw(figures, RESULTS)
    print(report.markdown(figures, load).split("!")[0])
    print(f"written to {RESULTS.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
