"""A service whose main process only waits: its two workers stand for election, the leader reports.

    watched.py LOCK BROKEN

Its critical check fails as long as there is a file BROKEN.
"""

from __future__ import annotations

import os
import signal
import sys

from leaderlock import Election
from leaderlock.health import HealthReporter, checks, sinks

lock, broken = sys.argv[1:]


def works() -> None:
    if os.path.exists(broken):
        raise RuntimeError("broken")


# Before the fork, as in a server's configuration.
reporter = HealthReporter(0.2, checks=[checks.check(works, critical=True)], sinks=[sinks.systemd()])
for _ in range(2):
    if os.fork() == 0:
        Election(lock).run(reporter)
signal.pause()
