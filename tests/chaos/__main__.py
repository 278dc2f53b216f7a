"""Runs chaos: python -m tests.chaos --seed 1 --minutes 5. See `make chaos`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.faults import ARENAS, Schedule, draw, parse
from tests.chaos.laboratory import own_mounts
from tests.chaos.machine import Machine, Result
from tests.chaos.shrink import shrink


def save(schedule: Schedule, path: Path, violations: Sequence[str]) -> None:
    """Write a script, with what came of it, and how to replay it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [f"python -m tests.chaos --script {path}", *violations[:5]]
    text = "".join(f"# {line}\n" for line in head)
    path.write_text(text + str(schedule), encoding="ascii", errors="backslashreplace")
    print(f"  {len(schedule.faults)} faults: {path}", flush=True)


def shrink_to(path: Path, schedule: Schedule, *, may_mount: bool, seconds: float) -> None:
    """Write the shortest script that fails as well."""
    latest: list[str] = []

    def fails(shorter: Schedule) -> bool:
        latest[:] = Machine(shorter, may_mount=may_mount).run().violations
        return bool(latest)

    shrink(schedule, fails, seconds=seconds, report=lambda shorter: save(shorter, path, latest))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--arena", choices=sorted(ARENAS), action="append")
    parser.add_argument("--faults", type=int, default=150, help="in each round")
    parser.add_argument("--pace", type=float, default=30.0, help="milliseconds between two faults")
    parser.add_argument("--variant", help="candidates of this kind alone: a name in unsafe.py")
    parser.add_argument("--script", type=Path, help="replay this script, once")
    parser.add_argument("--scripts", type=Path, default=Path(".cache/chaos"), help="of what failed")
    parser.add_argument("--shrink", type=float, default=300, help="seconds to shrink what failed")
    parser.add_argument("--results", type=Path, help="append a line of JSON for each round")
    arguments = parser.parse_args()
    may_mount = own_mounts()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    until = time.monotonic() + 60 * arguments.minutes
    seed, failed = arguments.seed, False
    while True:
        for arena in arguments.arena or ARENAS:
            began = time.monotonic()
            if arguments.script:
                schedule = parse(arguments.script.read_text(encoding="ascii"))
            else:
                schedule = draw(seed, arena, arguments.faults, arguments.pace)
            if arguments.variant:
                schedule = schedule._replace(candidates=[arguments.variant] * 4)
            result: Result = Machine(schedule, may_mount=may_mount).run()
            took = time.monotonic() - began
            name = arguments.script or f"seed {seed} {arena}"
            print(
                f"{name}: {sum(result.struck.values())} faults, {result.terms} terms,"
                f" {took:.1f} s, lag {result.lag:.3f} s, {len(result.violations)} violations",
                *result.violations,
                sep="\n  ",
                flush=True,
            )
            if "CHAOS_LOG" in os.environ:
                print(result.struck, sorted(result.gaps)[-5:])
            if arguments.results:
                line = {"seed": seed, "arena": arena, "took": took, **result._asdict()}
                with open(arguments.results, "a", encoding="ascii") as file:
                    print(json.dumps(line), file=file)
            if result.violations:
                failed = True
                if not arguments.script:
                    save(schedule, arguments.scripts / f"{seed}-{arena}.txt", result.violations)
                    path = arguments.scripts / f"{seed}-{arena}-short.txt"
                    shrink_to(path, schedule, may_mount=may_mount, seconds=arguments.shrink)
            if arguments.script or time.monotonic() > until:
                return int(failed)
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
