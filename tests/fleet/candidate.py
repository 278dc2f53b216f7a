"""A candidate of a fleet, as a program: stands for election, and tells the witness of its terms.

candidate.py DIRECTORY URL LEASE [WITHIN [VARIANT]]

A variant is a function of `tests.fleet.unsafe`, which is called before the election is made.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import leaderlock
from tests.fleet import unsafe
from tests.fleet.witness import Witness

TICK = 0.02


def main(directory: str, url: str, lease: str, within: str = "", variant: str = "") -> None:
    witness = Witness(Path(directory))
    if variant:
        unsafe.VARIANTS[variant].patch()

    def task(leadership: leaderlock.Leadership) -> None:
        witness.begin(leadership.term)
        try:
            for _ in leadership.every(TICK):
                witness.work(leadership.term)
        finally:
            witness.end(leadership.term)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    election = leaderlock.Election(url, lease=float(lease), within=within or None)
    witness.ready()
    candidate = election.start(task)
    signal.sigwait({signal.SIGTERM})
    candidate.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
