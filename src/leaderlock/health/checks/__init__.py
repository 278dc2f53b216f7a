"""What is looked at: a check is any function without arguments whose value JSON can hold.

Its name in the report is its own name. One that raises is failing, with the error; one that returns a
`CheckResult` says itself how it is. `check` gives a function another name, a timeout, or makes it
critical; the built-in checks (but for `inbox`) take these as keywords.
"""

from __future__ import annotations

from leaderlock.health.checks.cgroup import cgroup
from leaderlock.health.checks.check import Check, CheckResult, check
from leaderlock.health.checks.disk import disk
from leaderlock.health.checks.inbox import inbox
from leaderlock.health.checks.network import http, tcp
from leaderlock.health.checks.processes import workers
from leaderlock.health.checks.sockets import listen_queue

__all__ = [
    "Check",
    "CheckResult",
    "cgroup",
    "check",
    "disk",
    "http",
    "inbox",
    "listen_queue",
    "tcp",
    "workers",
]
