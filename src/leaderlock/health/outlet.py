"""Hands reports to a sink in a native thread of its own, so that a blocked sink delays nothing else."""

from __future__ import annotations

from _queue import Empty, SimpleQueue  # gevent patches queue.SimpleQueue

from leaderlock.health.runner import describe
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import start_new_thread
from leaderlock.log import log
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from leaderlock.election.leadership import Leadership

    Report = Mapping[str, Any]
    Sink = Callable[[Report], object]

QUEUE = 16
"""The most reports that wait for a slow sink; one more drops the oldest report."""


class Outlet:
    """One sink, its queue and its thread.

    The thread calls the sink's ``start(leadership)``, then the sink for each report, and at the end its
    ``stop()``, if the sink has them. Only one call runs at a time, even if a call of an earlier term
    still hangs.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.name = ""
        self.dropped = 0
        self.errors = 0
        self.error: str | None = None
        self._late = False
        self._reports: SimpleQueue[Report | None] | None = None
        self._ended: NativeEvent | None = None

    def open(self, leadership: Leadership) -> None:
        """Begin a term: start the thread."""
        reports: SimpleQueue[Report | None] = SimpleQueue()
        ended, before = NativeEvent(), self._ended
        try:
            start_new_thread(self._serve, (reports, leadership, before, ended))
        except RuntimeError as error:  # the system has no thread left
            self._failed("was not started", error)
            return
        self._reports, self._ended = reports, ended

    def put(self, report: Report) -> None:
        """Queue a report; drop the oldest report if the queue is full."""
        if self._reports is None:
            self.dropped += 1
            return
        if self._reports.qsize() >= QUEUE:
            self._drop(self._reports)
            if not self._late:
                self._late = True
                log().warning(
                    "%s is slow: its queue of %d reports is full, the oldest are dropped",
                    self.name,
                    QUEUE,
                )
        self._reports.put(report)

    def close(self) -> None:
        """End the term: the thread hands on the queued reports, then ends."""
        if self._reports is not None:
            self._reports.put(None)

    def is_closed_within(self, seconds: float) -> bool:
        """Wait at most this many seconds after `close` for the thread to end; return whether it has."""
        if self._reports is None or self._ended is None or self._ended.wait(seconds):
            self._reports = None
            return True
        return False

    def abandon(self) -> None:
        """Drop the queued reports, and let the thread end when the sink returns.

        A report of this term must not come late: another process may lead by then, and report.
        """
        reports, self._reports = self._reports, None
        if reports is None:
            return
        while self._drop(reports):
            pass
        reports.put(None)
        log().warning("%s did not end in time, and is left behind", self.name)

    def state(self) -> dict[str, Any]:
        """The entry for this sink in the next report."""
        return {"dropped": self.dropped, "errors": self.errors, "error": self.error}

    def _drop(self, reports: SimpleQueue[Report | None]) -> bool:
        try:
            if reports.get_nowait() is not None:
                self.dropped += 1
        except Empty:
            return False
        return True

    def _serve(
        self,
        reports: SimpleQueue[Report | None],
        leadership: Leadership,
        before: NativeEvent | None,
        ended: NativeEvent,
    ) -> None:
        if before is not None:
            before.wait()
        try:
            self._call("was not started", getattr(self.sink, "start", None), leadership)
            while (report := reports.get()) is not None:
                if self._call("got no report", self.sink, report):
                    self._succeeded(caught_up=reports.empty())
            self._call("was not stopped", getattr(self.sink, "stop", None))
        finally:
            ended.set()

    def _call(self, what: str, function: Callable[..., object] | None, *arguments: object) -> bool:
        if function is None:
            return False
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001  (any exception: the next report is tried)
            self._failed(what, error)
            return False
        return True

    def _failed(self, what: str, error: BaseException) -> None:
        self.errors += 1
        text = describe(error)
        if text != self.error:  # a sink that is down fails at every tick; log it once
            self.error = text
            log().error("%s %s: %s", self.name, what, printable(text))

    def _succeeded(self, *, caught_up: bool) -> None:
        if self.error is not None:
            log().warning("%s works again, after %d errors", self.name, self.errors)
            self.error = None
        if self._late and caught_up:
            log().warning("%s keeps up again, after %d dropped reports", self.name, self.dropped)
            self._late = False
