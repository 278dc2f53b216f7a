"""`HealthReporter`: a task that reports who leads and how the workers are, at a steady beat."""

from __future__ import annotations

import json
import math
import os
import time

from leaderlock.health import checks as builtin_checks
from leaderlock.health import sinks as builtin_sinks
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from leaderlock.leadership import Leadership

    Check = Callable[[], object]
    Sink = Callable[[Mapping[str, Any]], object]

VERSION = 1
"""Of the report's form: it grows when a reader of the form before would go wrong."""


class HealthReporter:
    """A task for `in_one_worker` or `Election`: every `interval` seconds, one report to every sink.

    A report says who leads (process, term, since when, for how long) and what each check found. A check
    or a sink that raises is reported or logged, and stops nothing. Checks run one after the other in
    the leader's thread, so a check that hangs delays the report.

    Args:
        interval: seconds between reports, kept without drift.
        checks: functions without arguments; by default ``[checks.workers()]``.
        sinks: functions that take the report; by default ``[sinks.log()]``.

    Raises:
        ValueError, TypeError: an argument is not of its form.
        Unsupported: the default check needs psutil, and it is not installed.
    """

    def __init__(
        self,
        interval: float = 10,
        checks: Iterable[Check] | None = None,
        sinks: Iterable[Sink] | None = None,
    ) -> None:
        if not (interval > 0 and math.isfinite(interval)):
            raise ValueError(f"interval must be a positive number of seconds, not {interval!r}")
        self.interval = interval
        self.checks = list(checks) if checks is not None else [builtin_checks.workers()]
        self.sinks = list(sinks) if sinks is not None else [builtin_sinks.log()]
        for function in (*self.checks, *self.sinks):
            if not callable(function):
                raise TypeError(f"a check or sink must be a function, not {function!r}")

    def __call__(self, leadership: Leadership) -> None:
        """Report until asked to stop."""
        for _ in leadership.every(self.interval):
            self.report(leadership)

    def report(self, leadership: Leadership) -> dict[str, Any]:
        """Make one report, and hand it to every sink."""
        now = time.time()
        report = {
            "version": VERSION,
            "time": now,
            "leader": {
                "pid": os.getpid(),
                "term": leadership.term,
                "since": leadership.since,
                "uptime": round(max(now - leadership.since, 0), 3),
            },
            "checks": {_name(check): _run(check) for check in self.checks},
        }
        for sink in self.sinks:
            try:
                sink(report)
            except Exception as error:  # noqa: BLE001  (whatever it is, the other sinks go on)
                log().error("%s got no report: %s: %s", _name(sink), type(error).__name__, error)
        return report


def _run(check: Check) -> dict[str, Any]:
    begin = time.monotonic()
    outcome: dict[str, object]
    try:
        value = check()
        json.dumps(value, allow_nan=False)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the report's to tell)
        outcome = {"status": "failing", "value": None, "error": f"{type(error).__name__}: {error}"}
    else:
        outcome = {"status": "ok", "value": value, "error": None}
    return {**outcome, "duration": round(time.monotonic() - begin, 6)}


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__).rpartition("<locals>.")[2]
