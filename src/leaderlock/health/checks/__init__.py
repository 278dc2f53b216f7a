"""Checks: a check is any function without arguments that returns a JSON value.

Its name in the report is the function's name. If it raises, the check is failing, with the error. It
may return a `CheckResult` to set its status itself. `check` gives a function another name or a timeout,
or makes it critical; the built-in checks (except `inbox`) take these as keywords.
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
