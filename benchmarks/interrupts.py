"""Exceptions that a signal handler raises at any instant: nothing may be held, leaked or hung then.

    python -m benchmarks.interrupts [--only with ...] [--hits 100000]
    python -m benchmarks.interrupts [--only with ...] --every-instant [--twice]

Each surface is used over and over, and broken off: at random instants by SIGALRM, once or twice in a
row, or at each instant in turn at which CPython calls handlers (`benchmarks.instants`). After each hit
the lock must be free for another object (or known to be held, after `acquire`), and in the end no
descriptor and no thread may be left. Faults are printed with their instants.
`tests/test_interrupts.py` runs it with fewer hits; `tests/supervisor/raising.py` does the same to the
supervisor.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable

from benchmarks.instants import Instants
from benchmarks.surfaces import SURFACES, Contended, Hit, Surface, is_hit
from leaderlock import LeaderLock

PATIENCE = 30.0
"""Seconds that a lock may take to be free, and a process to have no thread left."""

MOST_FAULTS = 10
"""A surface with more is given up."""


class Storm:
    """Raises at random instants of a block; twice for some, the second time soon after the first."""

    def __init__(self) -> None:
        self.armed = False
        self._again = 0.0
        signal.signal(signal.SIGALRM, self._handle)

    def _handle(self, *_: object) -> None:
        if not self.armed:
            return
        again, self._again = self._again, 0.0  # first: it may come before this returns
        if again:
            signal.setitimer(signal.ITIMER_REAL, again)
        raise Hit

    def strike(self, action: Callable[[], object], longest: float) -> bool:
        """Run something; whether it was hit."""
        self._again = random.choice((0, 0, 1e-6, 2e-5, 1e-4))
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest))
                self.armed = True
                action()
            finally:
                self.armed = False
        except BaseException as error:
            if not is_hit(error):
                raise
            return True
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        return False


class Measurement:
    """What became of the hits on one surface."""

    def __init__(self, name: str, directory: str) -> None:
        self._name = name
        self._path = os.path.join(directory, f"{name}.lock")
        self._probe = LeaderLock(self._path)
        self.hits = 0
        self.held = 0
        self.descriptors = 0
        self.threads = 0
        self.faults: list[str] = []
        Contended(self._path).use()  # which opens what a process keeps: the decoy of a cancelled wait
        surface = self.new_surface()
        surface.use()
        surface.mend()
        surface.close()
        gc.collect()
        gc.freeze()  # what is there now is not looked through again after each hit
        self._before = _count("fd"), _count("task")

    def new_surface(self) -> Surface:
        return SURFACES[self._name](self._path)

    def look(self, surface: Surface, where: str = "") -> None:
        """After a hit: let the program mend what it has to, and see whether the lock is free."""
        self.hits += 1
        surface.mend()
        held = 0
        for lock in (surface.lock, surface.other):
            if surface.may_hold:
                if lock.locked():
                    lock.release()
            elif not _comes_true(lambda lock=lock: not lock.locked()):  # type: ignore[misc]
                held = 1
                lock.release()
        if self._probe.acquire(timeout=PATIENCE):
            self._probe.release()
        else:
            held = 1
        if held:
            self.held += 1
            self.faults.append(f"held after a hit: {where}")

    def look_for_leaks(self, where: str = "") -> None:
        gc.collect()
        _comes_true(lambda: _count("fd") <= self._before[0] and _count("task") <= self._before[1])
        descriptors, threads = _count("fd") - self._before[0], _count("task") - self._before[1]
        if descriptors > self.descriptors or threads > self.threads:
            self.faults.append(
                f"{descriptors} descriptors, {threads} threads left after a hit: {where}"
            )
        self.descriptors, self.threads = max(descriptors, 0), max(threads, 0)

    def __str__(self) -> str:
        return (
            f"{self.hits} hits, held afterwards {self.held}, descriptors left {self.descriptors}, "
            f"threads left {self.threads}"
        )


def hit_at_random(measurement: Measurement, hits: int) -> None:
    """Hit one surface so many times."""
    storm = Storm()
    surface = measurement.new_surface()
    while measurement.hits < hits and len(measurement.faults) < MOST_FAULTS:
        if storm.strike(surface.use, surface.longest):
            measurement.look(surface)
    surface.close()
    del surface
    measurement.look_for_leaks()


def hit_each_instant(measurement: Measurement, *, twice: bool) -> int:
    """Hit each instant of one surface in turn; how many there are.

    Args:
        twice: also hit each instant of what follows the first hit, up to the program's own code.
    """
    instants = Instants(Hit)

    def strike(*targets: int) -> int:
        surface = measurement.new_surface()
        error: BaseException | None = None
        instants.arm(*targets)
        try:
            try:
                surface.use()
            finally:
                instants.armed = False
        except BaseException as raised:  # noqa: BLE001  (examined below)
            error = raised
        instants.disarm()
        struck = list(instants.struck)
        if error is not None and not is_hit(error):
            raise error
        del error
        if struck:
            measurement.look(surface, ", then ".join(struck))
        else:
            surface.mend()
        surface.close()
        del surface
        measurement.look_for_leaks(", then ".join(struck))
        return len(struck)

    first = 1
    while len(measurement.faults) < MOST_FAULTS and strike(first):
        second = 1
        while twice and strike(first, second) == 2:
            second += 1
        first += 1
    return first - 1


def _count(what: str) -> int:
    return len(os.listdir(f"/proc/self/{what}"))


def _comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it holds soon: after two hits in a row, a native thread finishes what was broken off."""
    deadline = time.monotonic() + PATIENCE
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.0005)
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hits", type=int, default=100_000)
    parser.add_argument("--only", choices=SURFACES, action="append")
    parser.add_argument("--every-instant", action="store_true")
    parser.add_argument("--twice", action="store_true", help="needs Python 3.12")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")  # a coroutine that was hit before its first line was never awaited
    sys.unraisablehook = lambda _: None  # a hit in a finalizer or in a callback of a weak reference
    bad = 0
    version = ".".join(map(str, sys.version_info[:3]))
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.only or SURFACES:
            began = time.monotonic()
            measurement = Measurement(name, directory)
            if arguments.every_instant:
                count = hit_each_instant(measurement, twice=arguments.twice)
                what = f"{name}, each of {count} instants"
            else:
                hit_at_random(measurement, arguments.hits)
                what = name
            print(f"{version} {what}: {measurement}, {time.monotonic() - began:.0f} s", flush=True)
            for fault in measurement.faults:
                print(f"  {fault}", flush=True)
            bad += len(measurement.faults)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
