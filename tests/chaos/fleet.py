"""Chaos in a fleet: python -m tests.chaos.fleet --engine Redis --seed 1 --minutes 5, as root.

Six containers share one server; the process of each stands in several elections. Links are cut, the
server crashes, pauses and starts again, and processes are killed and stopped, at instants and for times
that the seed decides. The servers and the network are those of tests/fleet, and the record and the
checker are those of the chaos: no exception is made here.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos import checker
from tests.chaos.checker import SECOND, Bounds
from tests.chaos.page import Page, build
from tests.chaos.programs import ROOT
from tests.chaos.undoing import Undoing
from tests.fleet.matrix import KINDS
from tests.fleet.network import Network

CONTAINERS = 6
ELECTIONS = 3
LEASE = 2.0
PATIENCE = 90.0
"""Seconds until somebody leads in each election again, on the slowest machine."""

WEIGHTS = {
    "kill": 0.5,
    "stop": 2.0,
    "cut": 3.0,
    "hears nothing": 1.5,
    "heard by nobody": 1.5,
    "server crash": 2.0,
    "server restart": 1.0,
    "server pause": 2.0,
}


class Fault(NamedTuple):
    """A fault.

    Attributes:
        wait: milliseconds since the fault before.
        name: a key of `WEIGHTS`.
        target: a container; or less than 0: where the leader of election ``-target`` is.
        lasts: milliseconds.
    """

    wait: int
    name: str
    target: int
    lasts: int


def draw(seed: int, count: int) -> list[Fault]:
    """The faults of a seed; half of those that last do so for less than half a lease."""
    dice = random.Random(f"{seed} fleet")
    return [
        Fault(
            round(dice.expovariate(1 / 120)),
            name,
            dice.choice([dice.randrange(CONTAINERS), -dice.randint(1, ELECTIONS)]),
            round(1000 * LEASE * dice.choice([dice.uniform(0.05, 0.45), dice.uniform(0.45, 1.4)])),
        )
        for name in dice.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    ]


class FleetMachine:
    """One round.

    Args:
        engine: a name of `tests.fleet.matrix.KINDS`.
        network: that of the round alone.
        directory: for the page.
        lease: seconds.
        variant: a name of `tests.fleet.unsafe.VARIANTS`.
    """

    def __init__(
        self,
        engine: str,
        network: Network,
        directory: Path,
        *,
        lease: float = LEASE,
        variant: str = "",
    ) -> None:
        self._lease = lease
        self._variant = variant
        self.network = network
        self.struck: collections.Counter[str] = collections.Counter()
        self.problems: list[str] = []
        self._library = build(directory)
        self._output = open(directory / "output", "w+b")  # noqa: SIM115  (closed by `close`)
        self._page_path = directory / "page"
        self.page = Page(self._page_path, self._library)
        self.server = KINDS[engine].make(network)
        self._workers: dict[int, subprocess.Popen[Any]] = {}
        self._undoing = Undoing()
        self._faults_of: collections.Counter[int] = collections.Counter()
        self._paused_until = 0.0

    def _host(self, who: int) -> str:
        return f"box{who}"

    def _start(self, who: int) -> None:
        urls = [self.server.url(f"chaos{number}") for number in range(ELECTIONS)]
        self._workers[who] = self.network.start(
            self._host(who),
            [
                *(sys.executable, "-m", "tests.chaos.fleet_candidate"),
                *(
                    str(self._page_path),
                    str(self._library),
                    str(who),
                    str(self._lease),
                    self._variant,
                    *urls,
                ),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=self._output,
        )

    def _pass(self, seconds: float) -> None:
        """Let time pass; undo what is due, and start again who has died."""
        until = time.monotonic() + seconds
        while True:
            self._undoing.run_due(time.monotonic())
            for who, worker in list(self._workers.items()):
                if worker.poll() is not None:
                    self._start(who)
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    def _strike(self, fault: Fault) -> None:
        who = fault.target if fault.target >= 0 else self._leader(-fault.target)
        worker, host = self._workers[who], self._host(who)
        if fault.name == "kill":
            worker.kill()
        elif fault.name == "stop":
            worker.send_signal(signal.SIGSTOP)
            self._undoing.later(fault.lasts, lambda: self._continue(worker))
        elif fault.name.startswith("server"):
            if time.monotonic() < self._paused_until:
                return
            self._strike_server(fault)
        else:
            if fault.name == "cut":
                self.network.cut(host)
            else:
                self.network.one_way(host, "in" if fault.name == "hears nothing" else "out")
            self._faults_of[who] += 1
            self._undoing.later(fault.lasts, lambda: self._heal(who))
        self.struck[fault.name] += 1

    def _leader(self, election: int) -> int:
        """Where the leader is, or was last; the first container before that."""
        terms = checker.terms_of(slot for slot in self.page.slots() if slot.inode == election)
        return terms[-1].who if terms else 0

    def _continue(self, worker: subprocess.Popen[Any]) -> None:
        if worker.poll() is None:
            worker.send_signal(signal.SIGCONT)

    def _heal(self, who: int) -> None:
        """Heal a link when the last of its faults is over."""
        self._faults_of[who] -= 1
        if not self._faults_of[who]:
            self.network.heal(self._host(who))

    def _strike_server(self, fault: Fault) -> None:
        if fault.name == "server crash":
            self.server.crash()
            self.server.start()
        elif fault.name == "server restart":
            self.server.restart()
        else:
            self.server.pause()
            self._paused_until = time.monotonic() + fault.lasts / 1000
            self._undoing.later(fault.lasts, self.server.resume)

    def _led_since(self, moment: int) -> set[int]:
        """The elections in which somebody has led since a moment."""
        return {slot.inode for slot in self.page.slots() if slot.last > moment}

    def _wait_for_leaders(self, problem: str) -> bool:
        since, until = time.monotonic_ns(), time.monotonic() + PATIENCE
        while len(self._led_since(since)) < ELECTIONS:
            self._pass(0.05)
            if time.monotonic() > until:
                led = sorted(self._led_since(since))
                self.problems.append(f"{problem}: there are leaders in the elections {led} alone")
                return False
        return True

    def run(self, faults: list[Fault]) -> list[str]:
        """Let the faults strike; what was wrong."""
        self.server.start()
        for who in range(CONTAINERS):
            self._start(who)
        if self._wait_for_leaders("at the beginning"):
            for fault in faults:
                self._pass(fault.wait / 1000)
                self._strike(fault)
            self._undoing.run_due(math.inf)
            self.network.heal()
            self.server.repair()
            self._wait_for_leaders("when all was healed")
            if not self._variant:
                self._end_in_turn()
        slots, found = self.page.slots(), []
        for number in range(1, ELECTIONS + 1):
            mine = [slot for slot in slots if slot.inode == number]
            terms = checker.terms_of(mine)
            found += [
                f"election {number}: {text}"
                for text in (
                    *checker.two_at_a_time(terms, [], Bounds()),
                    *checker.falling_terms(terms, [], Bounds()),
                    *checker.leaderless(
                        terms, terms[-1].last, Bounds(leaderless=int(PATIENCE) * SECOND)
                    ),
                )
            ]
        return found + self.problems

    def close(self) -> str:
        """Close what was opened here; what the processes have said last."""
        self._output.seek(0)
        said = self._output.read()[-20000:].decode(errors="replace")
        self._output.close()
        return said

    def _end_in_turn(self) -> None:
        """Each process ends at TERM, and the others lead."""
        for who in range(CONTAINERS):
            worker = self._workers.pop(who)
            worker.terminate()
            try:
                worker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.problems.append(f"hung: the process of container {who} at TERM")
                worker.send_signal(signal.SIGUSR1)  # it prints its stacks
                self._pass(5)
                return
            if self._workers and not self._wait_for_leaders(f"after TERM to {who}"):
                return


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fleet", description=__doc__)
    parser.add_argument(
        "--engine", choices=["Redis", "PostgreSQL", "etcd", "ZooKeeper"], default="Redis"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--faults", type=int, default=200, help="in each round")
    parser.add_argument("--results", type=Path, help="append a line of JSON for each round")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left behind
    until, seed, failed = time.monotonic() + 60 * arguments.minutes, arguments.seed, False
    while True:
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
            machine = FleetMachine(arguments.engine, stack.enter_context(Network()), directory)
            violations = machine.run(draw(seed, arguments.faults))
            slots = machine.page.slots()
            said = machine.close()
        took = time.monotonic() - began
        failed |= bool(violations)
        print(
            f"seed {seed} {arguments.engine}: {sum(machine.struck.values())} faults,"
            f" {len(slots)} terms, {took:.1f} s, {len(violations)} violations",
            *violations,
            *([said] if violations else []),
            sep="\n  ",
            flush=True,
        )
        if arguments.results:
            line = {"seed": seed, "arena": arguments.engine, "took": took, "struck": machine.struck}
            with open(arguments.results, "a", encoding="ascii") as file:
                print(
                    json.dumps({**line, "violations": violations, "terms": len(slots), "gaps": []}),
                    file=file,
                )
        if time.monotonic() > until:
            return int(failed)
        seed += 1


if __name__ == "__main__":
    sys.exit(main())
