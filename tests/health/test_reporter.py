"""The reporter's beat, its sinks' threads, and what a term's end does to both."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError

from leaderlock import Election, Leadership
from leaderlock.health import HealthReporter, checks
from leaderlock.health.checks.check import as_check
from leaderlock.health.outlet import QUEUE
from leaderlock.inbox import Inbox
from tests.health.leading import SCHEMA, VALIDATOR, Report, Reports, leading
from tests.processes import PATIENCE, forked, run_task, threads_of, until


class Blocking:
    """A sink that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.taken: list[Report] = []
        self.called = 0
        self.at_a_time: list[int] = []
        self._inside = 0
        self.go = threading.Event()

    def __call__(self, report: Report) -> None:
        self._inside += 1
        self.at_a_time.append(self._inside)
        self.called += 1
        self.go.wait()
        self.taken.append(report)
        self._inside -= 1


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    sink = Blocking()
    yield sink
    sink.go.set()


def test_the_schema_is_one_and_refuses_what_is_no_report() -> None:
    VALIDATOR.check_schema(SCHEMA)
    with pytest.raises(ValidationError):
        VALIDATOR.validate({"version": 1})


def test_every_tick_is_reported_and_those_left_out_are_counted(path: Path) -> None:
    def hanging() -> None:
        go.wait()

    go = threading.Event()
    interval = 0.1
    reporter = HealthReporter(interval, checks=[hanging], sinks=[])
    before = time.time()
    with leading(path, reporter) as (reports, _):
        # The first tick waits for the check as long as the interval is, and so misses the next.
        reports.wait(lambda report: report["reporter"]["tick"] >= 10)
        go.set()
    for count, report in enumerate(reports):
        told = report["reporter"]
        assert told["interval"] == interval
        assert told["missed"] == told["tick"] - count
        assert told["lag"] >= 0
        assert report["time"] - before >= told["tick"] * interval - 0.01, "a tick came early"
    assert reports[1]["reporter"]["missed"] >= 1


def test_failovers_are_the_elections_before_this_one(path: Path) -> None:
    for term in (1, 2, 3):
        with leading(path, HealthReporter(1, checks=[], sinks=[])) as (reports, _):
            leader = reports.next()["leader"]
        assert (leader["term"], leader["failovers"]) == (term, term - 1)


def test_a_sink_that_blocks_loses_the_oldest_reports_and_stops_no_tick(
    path: Path, blocking: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = HealthReporter(0.005, checks=[], sinks=[blocking])
    with leading(path, reporter) as (reports, _):
        reports.wait(lambda report: report["reporter"]["sinks"]["Blocking"]["dropped"] >= 10)
        assert blocking.called == 1
        blocking.go.set()
        until(lambda: len(blocking.taken) > QUEUE + 1)
        dropped = reports.next()["reporter"]["sinks"]["Blocking"]["dropped"]
    ticks = [report["reporter"]["tick"] for report in blocking.taken]
    # After the one that it held, it got those that were the newest when it was let go.
    gap = ticks[1] - ticks[0]
    assert gap > 10
    assert dropped >= 10
    assert ticks == sorted(set(ticks))
    said = [record.getMessage() for record in caplog.records]
    full = [text for text in said if text.startswith("Blocking ") and "queue of 16 reports" in text]
    assert len(full) == 1


def test_a_sink_that_fails_is_counted_and_logged_at_the_first_and_at_every_change(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble: list[BaseException] = [ValueError("one")]

    def broken(report: Report) -> None:
        if trouble:
            raise trouble[0]

    with leading(path, HealthReporter(0.05, checks=[], sinks=[broken])) as (reports, _):
        name = broken.__name__

        def state(report: Report) -> Any:
            return report["reporter"]["sinks"][name]

        many = reports.wait(lambda report: state(report)["errors"] >= 5)
        assert state(many)["error"] == "ValueError: one"
        trouble[0] = SystemExit("two")
        reports.wait(lambda report: state(report)["error"] == "SystemExit: two")
        trouble.clear()
        healed = reports.wait(lambda report: state(report)["errors"] and not state(report)["error"])
        assert state(healed)["dropped"] == 0
    logged = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert logged[:2] == [
        "broken got no report: ValueError: one",
        "broken got no report: SystemExit: two",
    ]
    assert len(logged) == 3
    assert logged[2].startswith("broken works again, after")


class Telling:
    """A sink that tells what happens to it, and where."""

    def __init__(self, fail: bool = False) -> None:
        self.told: list[object] = []
        self.threads: set[int] = set()
        self._fail = fail

    def _tell(self, what: object) -> None:
        self.told.append(what)
        self.threads.add(threading.get_native_id())

    def start(self, leadership: Leadership) -> None:
        self._tell(("start", leadership.term))
        if self._fail:
            raise OSError("cannot start")

    def __call__(self, report: Report) -> None:
        self._tell(report["reporter"]["tick"])

    def stop(self) -> None:
        self._tell("stop")
        if self._fail:
            raise OSError("cannot stop")


@pytest.mark.parametrize("fail", [False, True])
def test_a_sink_is_started_gets_every_report_and_is_stopped_in_one_thread(
    path: Path, fail: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Telling(fail)
    reporter = HealthReporter(0.05, checks=[], sinks=[sink])
    for term in (1, 2):
        sink.told.clear()
        sink.threads.clear()
        with leading(path, reporter) as (reports, _):
            reports.wait(lambda report: report["reporter"]["tick"] >= 2)
        assert sink.told[0] == ("start", term)
        assert sink.told[1:-1] == [report["reporter"]["tick"] for report in reports]
        assert sink.told[-1] == "stop"
        assert len(sink.threads) == 1
        until(lambda: not sink.threads & set(threads_of()), "the sink's thread to end")
    assert ("Telling was not started: OSError: cannot start" in caplog.text) is fail
    assert ("Telling was not stopped: OSError: cannot stop" in caplog.text) is fail


def test_a_sink_that_blocks_is_left_behind_at_the_end_and_gets_nothing_of_that_term_late(
    path: Path, blocking: Blocking, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = HealthReporter(0.005, checks=[], sinks=[blocking])
    with leading(path, reporter) as (reports, _):
        reports.wait(lambda report: report["reporter"]["tick"] >= 5)
    assert "Blocking did not end in time" in caplog.text
    with leading(path, reporter) as (reports, _):
        reports.next()
        blocking.go.set()
        until(lambda: len(blocking.taken) >= 3)
    terms = [report["leader"]["term"] for report in blocking.taken]
    assert terms[0] == 1  # which it had in hand
    assert set(terms[1:]) == {2}
    assert set(blocking.at_a_time) == {1}


def test_the_leadership_beats_while_a_check_hangs_and_while_a_sink_blocks_the_end(
    path: Path, blocking: Blocking
) -> None:
    beats: list[float] = []
    ticks: list[int] = []

    class Counting(HealthReporter):
        def __call__(self, leadership: Leadership) -> None:
            beat = leadership.beat

            def counted() -> None:
                beats.append(time.monotonic())
                beat()

            leadership.beat = counted  # type: ignore[method-assign]
            super().__call__(leadership)

        def report(self, leadership: Leadership) -> dict[str, Any]:
            report = super().report(leadership)
            ticks.append(len(beats))
            return report

    hangs = threading.Event()
    reporter = Counting(0.1, checks=[checks.check(hangs.wait, name="hangs")], sinks=[blocking])
    candidate = Election(path).start(reporter)
    try:
        until(lambda: len(ticks) >= 3)
        # Two in each tick: when it begins, and when the checks have ended or used up all of it.
        assert ticks[:3] == [2, 4, 6]
        before = len(beats)
        assert candidate.stop(PATIENCE)
        assert len(beats) - before >= 3
    finally:
        hangs.set()


def test_sinks_of_one_name_are_told_apart(path: Path) -> None:
    reporter = HealthReporter(1, checks=[], sinks=[Reports(), Reports()])
    with leading(path, reporter) as (reports, _):
        assert list(reports.next()["reporter"]["sinks"]) == ["Reports", "Reports#2", "Reports#3"]


def test_a_leader_that_lost_its_lock_while_the_checks_ran_reports_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reports = Reports()

    def replace_the_lock_file() -> None:
        path.unlink()
        path.touch(0o600)

    reporter = HealthReporter(1000, checks=[replace_the_lock_file], sinks=[reports])
    candidate = Election(path, backoff=(1000, 1000)).start(reporter)
    until(lambda: "leadership lost" in caplog.text)
    until(lambda: candidate.state == "standby")
    assert candidate.stop(PATIENCE)
    assert reports == []


def test_a_reporter_made_before_the_fork_leads_in_the_child(path: Path) -> None:
    before = set(threads_of())
    reporter = HealthReporter(0.5, checks=[os.getpid], sinks=[])
    assert set(threads_of()) <= before

    def child() -> bool:
        with leading(path, reporter) as (reports, _):
            report = reports.next()
        return bool(report["leader"]["pid"] == report["checks"]["getpid"]["value"] == os.getpid())

    assert forked(child) == 0


def test_a_child_forked_from_a_leader_can_lead_with_the_same_reporter(path: Path) -> None:
    reporter = HealthReporter(0.5, checks=[os.getpid], sinks=[])
    other = path.with_name("other.lock")

    def child() -> bool:
        reporter.sinks.clear()
        with leading(other, reporter) as (reports, _):
            return bool(reports.next()["checks"]["getpid"]["value"] == os.getpid())

    with leading(path, reporter) as (reports, _):
        reports.next()
        assert forked(child) == 0
        reports.next()


def test_reports_can_be_made_by_hand(path: Path) -> None:
    reporter = HealthReporter(1, checks=[lambda: 5], sinks=[])
    seen: list[Report] = []

    def task(leadership: Leadership) -> None:
        seen.append(reporter.report(leadership))

    run_task(Election(path, on_return="resign"), task)
    VALIDATOR.validate(seen[0])
    assert seen[0]["checks"]["<lambda>"]["value"] == 5


def test_the_last_report_is_handed_on_before_the_resignation(path: Path) -> None:
    taken: list[Report] = []

    def slow(report: Report) -> None:
        begun.set()
        time.sleep(0.05)
        taken.append(report)

    begun = threading.Event()
    reporter = HealthReporter(1000, checks=[], sinks=[slow])
    candidate = Election(path).start(reporter)
    assert begun.wait(PATIENCE)
    assert candidate.stop(PATIENCE)
    assert len(taken) == 1


def test_the_reports_of_all_checks_meet_the_schema(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox(path.with_name("inbox"))
    every: list[Callable[[], object]] = [
        checks.workers(),
        checks.listen_queue(),
        checks.cgroup(),
        checks.disk("/"),
        checks.tcp("127.0.0.1:1"),
        checks.http("http://127.0.0.1:1/"),
        checks.inbox(inbox),
    ]
    with caplog.at_level(logging.ERROR), leading(path, HealthReporter(1, every, [])) as (reports, _):
        report = reports.next()  # the sink validates it
    inbox.close()
    assert set(report["checks"]) == {as_check(check).name for check in every}
    assert report["checks"]["tcp:127.0.0.1:1"]["status"] == "failing"
    assert json.loads(json.dumps(report)) == report
