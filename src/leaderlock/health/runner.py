"""Runs a check in a native thread of its own, and makes an entry of the report from its result.

A check may hang in the kernel (a dead NFS server) or block its thread for ever. A thread cannot be
stopped from outside, so a hung check keeps its thread, counts as failing, and is not started again.
"""

from __future__ import annotations

import json
import math
import time
from _queue import SimpleQueue  # gevent patches queue.SimpleQueue

from leaderlock.health.checks.check import CheckResult
from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from leaderlock.health.checks.check import Check
    from leaderlock.kernel.event import NativeEvent


class Runner:
    """One check and its thread, which waits between runs and ends after `park`.

    Args:
        check: the check to run.
        bell: set at the end of each run.

    Attributes:
        timeout: seconds after which a run counts as failing.
    """

    def __init__(self, check: Check[object], bell: NativeEvent) -> None:
        self.check = check
        self.timeout = math.inf
        self._bell = bell
        self._run: _Run | None = None
        self._started_now = False
        self._jobs: SimpleQueue[_Run | None] | None = None

    def start(self) -> None:
        """Begin a run, unless the previous one has not ended yet."""
        self._started_now = self._run is None or self._run.outcome is not None
        if not self._started_now:
            return
        self._run = _Run(self.check, self._bell)
        if self._jobs is None:
            jobs: SimpleQueue[_Run | None] = SimpleQueue()
            try:
                start_new_thread(_work, (jobs,))
            except RuntimeError as error:  # the system has no thread left
                self._run.fail(describe(error))
                return
            self._jobs = jobs
        self._jobs.put(self._run)

    def seconds_left(self) -> float:
        """How long to wait for the run that `start` began: 0 if the run has ended or timed out."""
        if self._run is None or self._run.outcome is not None or not self._started_now:
            return 0
        return max(self._run.begun + self.timeout - time.monotonic(), 0)

    def entry(self) -> dict[str, Any]:
        """The report's entry for this check."""
        run = self._run
        assert run is not None, "start() comes first"
        outcome = run.outcome
        # If an earlier tick gave up on a run, the run ends between two ticks, and its result is
        # dropped.
        if outcome is None or not self._started_now:
            if self._started_now:
                error = f"timed out after {self.timeout:g} s"
            else:
                began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.since))
                error = f"still running since {began}, and not started again"
            outcome = _entry("failing", None, error, time.monotonic() - run.begun)
        return {**outcome, "critical": self.check.critical}

    def park(self) -> None:
        """Let the thread end: at once, or when the check that hangs in it returns."""
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None


def run_together(runners: Iterable[Runner], bell: NativeEvent, stopping: Any) -> dict[str, Any] | None:
    """Start all checks at once, and wait until each has ended or timed out.

    Returns:
        The entries by name; None if `stopping` was set before.
    """
    runners = list(runners)
    for runner in runners:
        runner.start()
    while left := [seconds for runner in runners if (seconds := runner.seconds_left())]:
        if stopping.is_set():
            return None
        bell.wait(min(left))
        bell.clear()
    return {runner.check.name: runner.entry() for runner in runners}


class _Run:
    """One execution of a check; `outcome` is None until it ends."""

    __slots__ = ("_bell", "_check", "begun", "outcome", "since")

    def __init__(self, check: Check[object], bell: NativeEvent) -> None:
        self._check = check
        self._bell = bell
        self.begun = time.monotonic()
        self.since = time.time()
        self.outcome: dict[str, Any] | None = None

    def execute(self) -> None:
        begin = time.monotonic()
        try:
            outcome = _judged(self._check())
        except BaseException as error:  # noqa: BLE001  (SystemExit too belongs in the report)
            outcome = ("failing", None, describe(error))
        self.outcome = _entry(*outcome, time.monotonic() - begin)
        self._bell.set()

    def fail(self, error: str) -> None:
        self.outcome = _entry("failing", None, error, 0)


def _work(jobs: SimpleQueue[_Run | None]) -> None:
    while (run := jobs.get()) is not None:
        run.execute()


def _judged(value: object) -> tuple[str, object, str | None]:
    """Status, value and error. The value is a copy, which the check cannot change any more."""
    result = value if isinstance(value, CheckResult) else CheckResult(value)
    try:
        copy = json.loads(json.dumps(result.value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return "failing", None, f"the value is none that JSON can hold: {describe(error)}"
    return result.status, copy, result.error


def _entry(status: str, value: object, error: str | None, duration: float) -> dict[str, Any]:
    return {"status": status, "value": value, "duration": round(duration, 6), "error": error}


def describe(error: BaseException) -> str:
    """An exception in one line, even if its ``__str__`` raises."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  (from a foreign __str__)
        text = "(its text raises)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
