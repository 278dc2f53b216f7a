"""A candidate of a fleet in the chaos: stands in several elections, and marks the terms of each.

fleet_candidate.py PAGE LIBRARY WHO LEASE VARIANT URL…

The variant is one of `tests.fleet.unsafe`, or empty.
"""

from __future__ import annotations

import faulthandler
import functools
import logging
import os
import signal
import sys
from pathlib import Path

from leaderlock import Election, Leadership
from tests.chaos.page import Page
from tests.fleet import unsafe

TICK = 0.02


def main(page_path: str, library: str, who: str, lease: str, variant: str, *urls: str) -> None:
    page = Page(Path(page_path), Path(library))
    if variant:
        unsafe.VARIANTS[variant].patch()
    logging.basicConfig(level=os.environ.get("CHAOS_LOG", "CRITICAL"))

    def task(number: int, leadership: Leadership) -> None:
        slot = page.enter(int(who), leadership.term, number)
        try:
            for _ in leadership.every(TICK):
                page.stamp(slot)
        finally:
            page.leave(slot)

    faulthandler.register(signal.SIGUSR1, all_threads=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    elections = [Election(url, lease=float(lease), backoff=(0.1, 0.5)) for url in urls]
    candidates = [
        election.start(functools.partial(task, number + 1)) for number, election in enumerate(elections)
    ]
    signal.sigwait({signal.SIGTERM})
    for candidate in candidates:
        candidate.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
