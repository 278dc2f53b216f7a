"""`HealthReporter`: a task that reports the leader and the server's health at a fixed interval."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from leaderlock.errors import LeadershipLost
from leaderlock.health import checks as builtin_checks
from leaderlock.health import sinks as builtin_sinks
from leaderlock.health.checks.check import as_check, name_of
from leaderlock.health.outlet import Outlet
from leaderlock.health.runner import Runner, run_together
from leaderlock.kernel.arguments import names_near_keyword, positive_seconds, several
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from leaderlock.election.leadership import Leadership
    from leaderlock.health.checks.check import Check

    Sink = Callable[[Mapping[str, Any]], object]

VERSION = 1
"""The version of the report's form; it grows with each incompatible change."""

LONGEST_TIMEOUT = 5.0
"""The timeout in seconds of a check without one of its own, unless the interval is shorter."""

FLUSH = 2.0
"""Seconds that all sinks together have at the end of a term."""


class HealthReporter:
    """A task for `in_one_worker` or `Election`: every `interval` seconds, one report to every sink.

    A report is a dict of JSON values; report.schema.json in this directory is its JSON Schema. It
    contains the leader (process, term, start of the term, number of failovers), the result of each
    check, the state of the reporter itself, and the `status`: ``"failing"`` if a critical check fails,
    ``"degraded"`` if any other check fails or any check is degraded, and ``"ok"`` otherwise.

    All checks run at the same time, each in a native thread of its own. A check that hangs is failing
    when its timeout is over. It is not started again before it has returned, and delays neither the
    resignation nor the interpreter's exit. A check is also failing if it raises, or if its value is not
    a JSON value.

    Each sink has a native thread and a queue of 16 reports; if the queue is full, the oldest report is
    dropped. The next report contains drops and failures; each is logged when it begins, changes or
    ends. All sinks get the same report, and must not change it. If a sink has a `start` method, the
    method is called with the leadership before the first report. Its `stop` is called at the end of the
    term, after the queued reports; for these all sinks together have 2 s.

    Create the reporter before the workers are forked; it starts no thread before it leads. A reporter
    may lead several terms in turn, but belongs to one election.

    Args:
        interval: seconds between reports, without drift. If a tick takes longer, the ticks that it
            overlaps are skipped; they are counted.
        checks: functions without arguments, or results of `checks.check`, each with a name of its own;
            by default ``[checks.workers()]``. Read when a term begins.
        sinks: functions that take the report; by default ``[sinks.log()]``. Read when a term begins.

    Raises:
        ValueError, TypeError: an argument is invalid.
        Unsupported: the default check needs psutil, which is not installed.
    """

    thread = "native"
    """Checks and sinks need native threads, even if gevent or eventlet has patched the library."""

    @names_near_keyword
    def __init__(
        self,
        interval: float = 10,
        checks: Iterable[Callable[[], object]] | None = None,
        sinks: Iterable[Sink] | None = None,
    ) -> None:
        self.interval = interval = positive_seconds("interval", interval)
        # Wrong checks are refused here, before the fork.
        wanted = "functions"
        checks = [builtin_checks.workers()] if checks is None else several("checks", checks, wanted)
        named = _named(checks, interval)
        self.checks: list[Callable[[], object]] = list(named)
        self.sinks = [builtin_sinks.log()] if sinks is None else several("sinks", sinks, wanted)
        for sink in self.sinks:
            if not callable(sink):
                raise TypeError(f"a check or sink must be a function, not {sink!r}")
        self._pid = 0
        self._bell = NativeEvent()
        self._runners: list[Runner] = []
        self._outlets: list[Outlet] = []
        self._leadership: Leadership | None = None
        self._begun = 0.0
        self._tick = 0
        self._missed = 0

    def __call__(self, leadership: Leadership) -> None:
        """Report until this task is asked to stop."""
        self._begin(leadership)
        try:
            start_new_thread(_ring_at_stop, (leadership.stopping, self._bell))
            for tick in leadership.every(self.interval):
                self._missed += max(tick - self._tick - 1, 0)
                self._tick = tick
                if tick == 0:
                    self._begun = time.monotonic()
                try:
                    self.report(leadership)
                except (_StopError, LeadershipLost):  # during the checks: another leader reports now
                    break
        finally:
            self._end(leadership)

    def report(self, leadership: Leadership) -> dict[str, Any]:
        """Make one report, and queue it for every sink.

        Outside a task's call of the reporter, the threads that this starts remain parked.

        Raises:
            LeadershipLost: another process may lead; no sink gets the report.
        """
        if self._leadership is not leadership or self._pid != os.getpid():
            self._begin(leadership)
        lag = time.monotonic() - self._begun - self._tick * self.interval
        entries = run_together(self._runners, self._bell, leadership.stopping)
        if entries is None:
            raise _StopError("asked to stop while the checks ran")
        if leadership.lost or not leadership.stopping.is_set():
            leadership.beat()  # a hung check may have taken the whole interval
        now = time.time()
        report = {
            "version": VERSION,
            "time": now,
            "status": _overall(entries.values()),
            "leader": {
                "pid": self._pid,
                "term": leadership.term,
                "since": leadership.since,
                "uptime": round(max(now - leadership.since, 0), 3),
                "failovers": leadership.term - 1,
            },
            "reporter": {
                "interval": self.interval,
                "tick": self._tick,
                "lag": round(max(lag, 0), 6),
                "missed": self._missed,
                "sinks": {outlet.name: outlet.state() for outlet in self._outlets},
            },
            "checks": entries,
        }
        for outlet in self._outlets:
            outlet.put(report)
        return report

    def _begin(self, leadership: Leadership) -> None:
        if self._pid != os.getpid():  # a forked child has none of its parent's threads
            self._pid = os.getpid()
            self._bell = NativeEvent()
            self._runners = []
            self._outlets = []
        named = _named(self.checks, self.interval)
        self.checks = list(named)
        # A check that still hangs since an earlier term keeps its runner.
        known = {id(runner.check): runner for runner in self._runners}
        self._runners = [known.get(id(check)) or Runner(check, self._bell) for check in named]
        for runner in self._runners:
            runner.timeout = runner.check.timeout or min(self.interval, LONGEST_TIMEOUT)
        self._outlets = self._open(leadership)
        self._leadership = leadership
        self._begun = time.monotonic()
        self._tick = 0
        self._missed = 0

    def _open(self, leadership: Leadership) -> list[Outlet]:
        known = {id(outlet.sink): outlet for outlet in self._outlets}
        outlets: list[Outlet] = []
        for sink in self.sinks:
            outlet = known.pop(id(sink), None) or Outlet(sink)
            outlet.name = _another(name_of(sink), [other.name for other in outlets])
            outlet.open(leadership)
            outlets.append(outlet)
        return outlets

    def _end(self, leadership: Leadership) -> None:
        for runner in self._runners:
            runner.park()
        for outlet in self._outlets:
            outlet.close()
        deadline = time.monotonic() + FLUSH
        for outlet in self._outlets:
            while not outlet.is_closed_within(min(self.interval, deadline - time.monotonic())):
                if leadership.lost or time.monotonic() >= deadline:
                    outlet.abandon()
                    break
                with suppress(LeadershipLost):
                    leadership.beat()
        self._leadership = None


class _StopError(Exception):
    """The task was asked to stop before the checks had ended."""


def _ring_at_stop(stopping: threading.Event, bell: NativeEvent) -> None:
    """Wake a tick that waits for its checks; every leadership is asked to stop in the end."""
    stopping.wait()
    bell.set()


def _named(checks: Iterable[Callable[[], object]], interval: float) -> list[Check[object]]:
    """Make checks of all functions, each with a name of its own and a timeout within the interval."""
    named: dict[str, Check[object]] = {}
    for check in map(as_check, checks):
        if check.name in named:
            raise ValueError(
                f"two checks have the name {check.name!r}: give one another name, by name= of a "
                "built-in check, or by checks.check(function, name=…)"
            )
        if check.timeout is not None and check.timeout > interval:
            raise ValueError(
                f"check {check.name!r} has a timeout of {check.timeout:g} s, and the interval is "
                f"{interval:g} s: a tick must end before the next, so shorten the timeout or lengthen "
                "the interval"
            )
        named[check.name] = check
    return list(named.values())


def _another(name: str, taken: list[str]) -> str:
    """The name, or the first of name#2, name#3 … that is not taken."""
    count = 1
    candidate = name
    while candidate in taken:
        count += 1
        candidate = f"{name}#{count}"
    return candidate


def _overall(entries: Iterable[Mapping[str, Any]]) -> str:
    worst = "ok"
    for entry in entries:
        if entry["status"] == "failing" and entry["critical"]:
            return "failing"
        if entry["status"] != "ok":
            worst = "degraded"
    return worst
