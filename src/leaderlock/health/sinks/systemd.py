"""READY, STATUS and WATCHDOG for systemd, sent by the worker that leads."""

from __future__ import annotations

import os
import time

from leaderlock.health.sinks.numbers import failing_critical_checks
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.proc.processes import process_of
from leaderlock.kernel.sd_notify import Notifier
from leaderlock.kernel.threads import start_new_thread
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

INTERVALS = 3
"""After this many intervals without a report, the reporter counts as hung."""

_LONGEST_STATUS = 1000  # characters: systemd loses a message of more than 4,096 bytes


class systemd:
    """A sink that reports the service's state to systemd, by sd_notify(3).

    ``READY=1`` is sent with the first report in which no critical check fails, ``STATUS=`` with each.
    ``WATCHDOG=1`` is sent with each report and, by a native thread, at half of ``WATCHDOG_USEC``, as
    sd_watchdog_enabled(3) advises. Beats stop while a critical check fails, and after three of the
    reporter's intervals without a report: then systemd restarts the service.

    The unit needs ``NotifyAccess=all``, since the leader is not the service's main process. For the
    same reason ``WATCHDOG_PID`` may name this process or any ancestor at the time when the sink is
    made. Without ``NOTIFY_SOCKET`` the sink does nothing.

    When another process takes over, its first good report sends the next beat. Choose a
    ``WatchdogSec=`` greater than twice the sum of the lease and the longest time of all checks: half of
    it may have passed when the old leader ends.
    """

    def __init__(self) -> None:
        self.__qualname__ = "sinks.systemd()"
        # Read now: an arbiter that is replaced later (gunicorn's USR2) is no longer our ancestor then.
        self._watchdog = _watchdog_seconds() if os.environ.get("NOTIFY_SOCKET") else None
        self._pid = os.getpid()
        self._notifier: Notifier | None = None
        self._ready = False
        self._beats: NativeEvent | None = None  # setting it ends the thread
        self._good_until = 0.0

    def __call__(self, report: Mapping[str, Any]) -> None:
        """Send a report's state to the manager.

        Raises:
            ValueError: NOTIFY_SOCKET is neither a path nor abstract.
            OSError: the manager is gone, or its queue is full.
        """
        if not os.environ.get("NOTIFY_SOCKET"):
            return
        if self._pid != os.getpid():
            self.stop()
        if self._notifier is None:
            self._notifier = Notifier.from_environment()
        good = not failing_critical_checks(report)
        states = [f"STATUS={_describe(report)}"]
        states += ["READY=1"] if good and not self._ready else []
        states += ["WATCHDOG=1"] if good and self._watchdog else []
        if not good:
            self._good_until = 0.0
        try:
            if self._notifier is not None:
                self._notifier.send(*states)
                self._ready = self._ready or good
        finally:  # a queue that is full for a moment must not stop the beats
            if good:
                self._good_until = time.monotonic() + INTERVALS * report["reporter"]["interval"]
            if self._watchdog and self._beats is None:
                self._beats = NativeEvent()
                start_new_thread(self._beat, (self._beats, self._watchdog / 2))

    def _beat(self, stopping: NativeEvent, seconds: float) -> None:
        notifier = Notifier.from_environment()  # of this thread's own: no other thread closes it
        failed = False
        while notifier is not None and not stopping.wait(seconds):
            if time.monotonic() < self._good_until:
                try:
                    notifier.send("WATCHDOG=1")
                    failed = False
                except OSError as error:  # the manager is gone, or its queue is full
                    if not failed:
                        log().error("no beat reaches systemd's watchdog: %s", error)
                    failed = True
        _close(notifier)

    def stop(self) -> None:
        """Stop the beats: this process no longer leads."""
        if self._beats is not None and self._pid == os.getpid():
            self._beats.set()
        _close(self._notifier)
        self._notifier = self._beats = None
        self._pid, self._ready, self._good_until = os.getpid(), False, 0.0


def _close(notifier: Notifier | None) -> None:
    if notifier is not None:
        notifier.close()


def _describe(report: Mapping[str, Any]) -> str:
    """The report in one line, for `systemctl status`."""
    leader = report["leader"]
    parts = [f"process {leader['pid']} leads in term {leader['term']}: {report['status']}"]
    for status in ("failing", "degraded"):
        names = [name for name, check in report["checks"].items() if check["status"] == status]
        parts += [f"{status}: {', '.join(names)}"] if names else []
    line = "".join(c if c.isprintable() else " " for c in "; ".join(parts))
    return line[:_LONGEST_STATUS]


def _watchdog_seconds() -> float | None:
    """Seconds within which the manager expects a beat, or None if it expects none."""
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) > 0):
        log().error(
            "WATCHDOG_USEC must be a number of microseconds, not %r: no beats for systemd's watchdog."
            " systemd sets it by WatchdogSec= in the unit",
            text,
        )
        return None
    if pid and pid not in map(str, _this_process_and_those_above()):
        log().warning("WATCHDOG_PID %r is no process above this one: no beats for the watchdog", pid)
        return None
    return int(text) / 1e6


def _this_process_and_those_above() -> list[int]:
    pids = [os.getpid(), os.getppid()]
    while (process := process_of(pids[-1])) is not None and process.parent > 0:
        pids.append(process.parent)
    return pids
