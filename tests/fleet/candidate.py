"""A candidate of a fleet, as a program: stands for election, and tells the witness of its terms.

candidate.py DIRECTORY URL LEASE [WITHIN [VARIANT]]

It says that it is ready once it waits in the engine, or leads: a fault must not strike a fleet whose
next leader has only begun to import. A candidate that waits for a local lock is not ready.

A variant is a function of `tests.fleet.unsafe`, which is called before the election is made.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import leaderlock
from leaderlock.engines import Waiting
from tests.fleet import unsafe
from tests.fleet.witness import Witness

TICK = 0.02


def say_when_waiting(witness: Witness) -> None:
    """Let the candidate's first wait for its engine say that it is ready."""
    wait = Waiting.readable

    def readable(self: Waiting, fd: int, seconds: float | None = None) -> bool:
        if fd >= 0:  # no pause between two tries
            unsafe.replace(Waiting, "readable", wait)
            witness.ready()
        return wait(self, fd, seconds)

    unsafe.replace(Waiting, "readable", readable)


def main(directory: str, url: str, lease: str, within: str = "", variant: str = "") -> None:
    witness = Witness(Path(directory))
    if variant:
        unsafe.VARIANTS[variant].patch()

    def task(leadership: leaderlock.Leadership) -> None:
        witness.begin(leadership.term)
        witness.ready()
        try:
            for _ in leadership.every(TICK):
                witness.work(leadership.term)
        finally:
            witness.end(leadership.term)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    election = leaderlock.Election(url, lease=float(lease), within=within or None)
    say_when_waiting(witness)
    candidate = election.start(task)
    signal.sigwait({signal.SIGTERM})
    candidate.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
