"""Lets every fault strike every kind of fleet many times, at random instants: docs/fleet-results.md.

    make fleet                  # 20 rounds, half an hour
    make fleet ROUNDS=3
    make fleet ROUNDS=3 ONLY=Redis

Each process strikes a fleet of its own with some faults, and writes to a file of its own, so that a
page can be made of what is there when the time is over. The exit status is 1 if there were ever two
leaders.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fleet.faults import Fault, Outcome, strike
from tests.fleet.matrix import KINDS, fleet_of
from tests.fleet.unsafe import CASES, VARIANTS, Case

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "fleet-results.md"
RESULTS = ROOT / ".cache" / "fleet"
LEASE = 3.0
JOBS = 6
PART = 5
"""Faults of one process."""
TIME_LIMIT = 20 * 60.0
"""Seconds for one process."""
TRIES = 5
"""Rounds for each variant that is not safe."""


HEAD = """\
<!-- `make fleet` writes this page. -->

# Fleets under faults

Real servers, and candidates in containers, were struck by {total} faults at random instants. An
election that was wrong (two leaders at a time, a term that did not rise, or a resource that got an
older term after a newer one): {wrong}.

Each fleet has two containers with two workers each, and a lease of {lease:g} s. A container is a
network namespace with a control group. With two tiers, the workers of a container elect one among
themselves first (`within=`). A witness that shares no code with leaderlock looks at the beginning
of each term whether the process of an earlier leader still exists. A stopped or frozen process
counts.

- **led on**: how often the leader went on, without a new term.
- **next, median** and **longest**: seconds from the fault, or from the end of the server's outage,
  to the first work of the next leader. The bound is for a machine without load.
- **none, longest**: the longest time between two works of any leader, in seconds.
- **wrong**: how often the election was wrong, or nobody led again within a minute.

A fault strikes when all candidates wait and one leads. The last renewal was then up to a quarter of a
lease ago, and the lease counts from that renewal: so the next leader often leads sooner than a lease
after the fault. A fault strikes the next one in the queue too, if that is in the same container.

{jobs} fleets at a time ran on one machine of {processors} processors, with their servers: so a
process often waited for a processor.
"""

UNSAFE = """\
## Elections that leave out one rule

The same witness and the same faults, and a library in which one rule was replaced: so the tables
above would show two leaders, if there had been two.

| fleet | the rule in its place | fault | struck | two leaders |
| --- | --- | --- | --- | --- |"""


class Entry(NamedTuple):
    """What came of one fault.

    Attributes:
        fault: its name.
        outcome: None if nobody led again in time.
        wrong: what an election must never do, and what this one did.
    """

    fault: str
    outcome: Outcome | None
    wrong: list[str]


def strike_for_ever(kind: str, faults: Sequence[Fault], variant: str) -> Iterator[Entry]:
    """Let the faults strike, in random order; after something wrong, begin with a new fleet."""
    while True:
        with fleet_of(kind, LEASE, variant) as fleet:
            is_sound = True
            while is_sound:
                for fault in random.sample(faults, len(faults)):
                    try:
                        outcome, problem = strike(fault, fleet), []
                    except TimeoutError as error:
                        outcome, problem = None, [] if fleet.verdict.faults else [str(error)]
                    entry = Entry(fault.name, outcome, fleet.verdict.faults + problem)
                    is_sound = not entry.wrong and outcome is not None
                    yield entry
                    if not is_sound:
                        break


class Job(NamedTuple):
    """A fleet, and the faults that strike it.

    Attributes:
        kind: a name of `KINDS`.
        faults: their names.
        variant: a name of `VARIANTS`, or empty.
        rounds: how often each fault strikes.
    """

    kind: str
    faults: Sequence[str]
    variant: str
    rounds: int

    @property
    def path(self) -> Path:
        """The file of the entries."""
        return RESULTS / f"{'-'.join((self.kind, self.variant, self.faults[0]))}.json"

    def run(self) -> None:
        """Write entries until each fault has struck often enough, or the time is over."""
        until = time.monotonic() + TIME_LIMIT
        faults = [fault for fault in KINDS[self.kind].faults if fault.name in self.faults]
        left = dict.fromkeys(self.faults, self.rounds)
        with open(self.path, "w", encoding="utf-8") as file:
            for entry in strike_for_ever(self.kind, faults, self.variant):
                print(json.dumps(entry), file=file, flush=True)
                left[entry.fault] -= 1
                if max(left.values()) <= 0 or time.monotonic() > until:
                    return

    def run_in_process(self) -> int:
        """`run`, in a process of its own; its exit status."""
        command = [sys.executable, "-m", "tests.fleet.rounds", "--job", json.dumps(self)]
        return subprocess.run(command, cwd=ROOT).returncode

    def entries(self) -> list[Entry]:
        """What was written until now."""
        if not self.path.exists():
            return []
        fields = map(json.loads, self.path.read_text(encoding="utf-8").splitlines())
        return [Entry(f[0], None if f[1] is None else Outcome(*f[1]), f[2]) for f in fields]


def jobs_of(kind: str, rounds: int) -> list[Job]:
    """The faults of a kind, in parts."""
    names = [fault.name for fault in KINDS[kind].faults]
    return [Job(kind, names[i : i + PART], "", rounds) for i in range(0, len(names), PART)]


def job_of(case: Case, rounds: int) -> Job:
    """A variant that is not safe, and its fault."""
    return Job(case.kind, [case.fault], case.variant, min(rounds, TRIES))


def row(kind: str, fault: Fault, entries: list[Entry]) -> str:
    """A row of a kind's table."""
    outcomes = [entry.outcome for entry in entries if entry.outcome is not None]
    moved = [outcome for outcome in outcomes if outcome.moved]
    seconds = [outcome.seconds for outcome in moved]
    cells = [
        fault.name,
        str(len(entries)),
        str(len(outcomes) - len(moved)),
        f"{statistics.median(seconds):.2f}" if seconds else "–",
        f"{max(seconds):.2f}" if seconds else "–",
        f"{KINDS[kind].bound(fault, LEASE):.1f}" if seconds else "–",
        f"{max(outcome.gap for outcome in outcomes):.2f}" if outcomes else "–",
        str(sum(bool(entry.wrong) for entry in entries)),
    ]
    return "| " + " | ".join(cells) + " |"


def table(kind: str, entries: list[Entry]) -> list[str]:
    """The table of a kind of fleet."""
    lines = [
        f"## {kind}",
        "",
        "| fault | struck | led on | next, median | longest | bound | none, longest | wrong |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault in KINDS[kind].faults:
        mine = [entry for entry in entries if entry.fault == fault.name]
        lines += [row(kind, fault, mine)] if mine else []
    return [*lines, ""]


def page() -> str:
    """The page, of the files that are there."""
    kinds = {kind: [e for job in jobs_of(kind, 0) for e in job.entries()] for kind in KINDS}
    total = sum(map(len, kinds.values()))
    wrong = sum(bool(entry.wrong) for entries in kinds.values() for entry in entries)
    lines = [HEAD.format(total=total, wrong=wrong, lease=LEASE, jobs=JOBS, processors=os.cpu_count())]
    for kind, entries in kinds.items():
        if entries:
            lines += table(kind, entries)
    lines.append(UNSAFE)
    for case in CASES:
        if entries := job_of(case, 0).entries():
            caught = sum(bool(entry.wrong) for entry in entries)
            what = VARIANTS[case.variant].what
            lines.append(f"| {case.kind} | {what} | {case.fault} | {len(entries)} | {caught} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default="", help="the beginning of the names of the kinds to run")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        Job(*json.loads(arguments.job)).run()
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    jobs = [job for kind in KINDS for job in jobs_of(kind, arguments.rounds)]
    # Those with the most faults first, so that the last ones to end are short.
    jobs.sort(key=lambda job: -len(job.faults))
    jobs += [job_of(case, arguments.rounds) for case in CASES]
    jobs = [job for job in jobs if job.kind.startswith(arguments.only)]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        failed = any([*pool.map(Job.run_in_process, jobs)])
    arguments.page.write_text(page(), encoding="utf-8")
    wrong = [entry for job in jobs if not job.variant for entry in job.entries() if entry.wrong]
    for entry in wrong:
        print(f"{entry.fault}: {entry.wrong}", file=sys.stderr)
    return int(failed or bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
