"""What a check may be and do: each has its entry in the report, and none stops another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import Election, Leadership
from leaderlock.health import CheckResult, HealthReporter, checks
from leaderlock.health.runner import Runner, run_together
from leaderlock.kernel.event import NativeEvent
from tests.health.leading import Report, entry_of, leading
from tests.processes import PATIENCE, sleeps, threads_of, until, wakeups_of


class Hanging:
    """A check that hangs until it is let go, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = threading.Event()

    def hanging(self) -> str:
        self.begun += 1
        self.go.wait()
        return "at last"


@pytest.fixture
def hang() -> Iterator[Hanging]:
    hang = Hanging()
    yield hang
    hang.go.set()


def returning(value: object) -> Callable[[], object]:
    return lambda: value


def error_of(report: Report, name: str) -> str:
    return str(report["checks"][name]["error"])


def test_a_check_that_hangs_is_failing_and_not_started_again_until_it_returns(
    path: Path, hang: Hanging
) -> None:
    slow = checks.check(hang.hanging, name="slow", timeout=0.03)
    reporter = HealthReporter(0.5, checks=[slow, lambda: "fine"], sinks=[])
    with leading(path, reporter) as (reports, _):
        first = reports.next()
        assert error_of(first, "slow") == "timed out after 0.03 s"
        assert first["checks"]["slow"]["status"] == "failing"
        assert first["checks"]["slow"]["duration"] >= 0.03
        later = reports.wait(lambda report: report["reporter"]["tick"] >= 4)
        assert error_of(later, "slow").startswith("still running since 2")
        assert later["checks"]["slow"]["duration"] >= 0.5 * 3
        assert all(report["checks"]["<lambda>"]["value"] == "fine" for report in reports)
        assert hang.begun == 1
        hang.go.set()
        healed = reports.wait(lambda report: report["checks"]["slow"]["status"] == "ok")
        assert healed["checks"]["slow"]["value"] == "at last"
        assert hang.begun >= 2


def test_a_check_that_hangs_since_an_earlier_term_is_not_started_again(
    path: Path, hang: Hanging
) -> None:
    reporter = HealthReporter(0.05, checks=[hang.hanging], sinks=[])
    with leading(path, reporter) as (reports, _):
        reports.next()
    with leading(path, reporter) as (reports, _):
        second = reports.next()
        assert second["leader"]["term"] == 2
        assert error_of(second, "Hanging.hanging").startswith("still running since")
        hang.go.set()
        reports.wait(lambda report: report["status"] == "ok")


def test_a_check_that_hangs_does_not_delay_the_resignation(path: Path, hang: Hanging) -> None:
    slow = checks.check(hang.hanging, timeout=1000)
    candidate = Election(path).start(HealthReporter(2000, checks=[slow], sinks=[]))
    until(lambda: hang.begun)
    assert candidate.stop(PATIENCE)


def test_a_check_that_hangs_does_not_keep_the_process_alive(path: Path) -> None:
    program = """if True:
        import sys, time, leaderlock
        from leaderlock.health import HealthReporter
        reports = []
        reporter = HealthReporter(0.02, checks=[lambda: time.sleep(100_000)], sinks=[reports.append])
        candidate = leaderlock.Election(sys.argv[1]).start(reporter)
        while not reports:
            time.sleep(0.002)
        """
    run = subprocess.run([sys.executable, "-c", program, path], timeout=PATIENCE)
    assert run.returncode == 0


def test_each_check_keeps_its_thread_which_costs_nothing_between_ticks_and_ends_with_the_term(
    path: Path,
) -> None:
    threads: list[set[int]] = [set(), set()]
    reporter = HealthReporter(
        0.02,
        checks=[
            checks.check(lambda: threads[0].add(threading.get_native_id()), name="one"),
            checks.check(lambda: threads[1].add(threading.get_native_id()), name="other"),
        ],
        sinks=[],
    )
    with leading(path, reporter) as (reports, _):
        reports.wait(lambda report: report["reporter"]["tick"] >= 5)
    assert [len(each) for each in threads] == [1, 1]
    assert threads[0] != threads[1]
    until(lambda: not (threads[0] | threads[1]) & set(threads_of()), "the threads to end")

    threads = [set(), set()]
    reporter.interval = 1000
    with leading(path, reporter) as (reports, _):
        reports.wait(lambda report: True)
        parked = threads[0] | threads[1]
        until(lambda: all(map(sleeps, parked)), "them to park")
        time.sleep(0.1)
        before = wakeups_of(os.getpid())
        time.sleep(0.3)
        after = wakeups_of(os.getpid())
        assert {thread: after[thread] - before[thread] for thread in parked} == dict.fromkeys(parked, 0)


def test_all_checks_run_at_the_same_time(path: Path) -> None:
    barrier = threading.Barrier(5)  # in turn, none of them would get past it
    meeting = [checks.check(lambda: barrier.wait(PATIENCE), name=f"check {n}") for n in range(5)]
    reporter = HealthReporter(2 * PATIENCE, checks=meeting, sinks=[])
    with leading(path, reporter) as (reports, _):
        assert reports.wait(lambda report: True)["status"] == "ok"


@pytest.mark.parametrize(
    "error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), StopIteration()]
)
def test_whatever_a_check_raises_is_its_own_failure(path: Path, error: BaseException) -> None:
    def raising() -> None:
        raise error

    entry = entry_of(path, raising)
    assert entry["status"] == "failing"
    assert entry["error"].startswith(type(error).__name__)


class Untold(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_that_cannot_tell_its_text_is_told_by_its_name(path: Path) -> None:
    def raising() -> None:
        raise Untold

    assert entry_of(path, raising)["error"] == "Untold: (its text raises)"


class Nasty(dict[str, int]):
    def items(self) -> Any:
        raise SystemExit(3)


circle: list[object] = []
circle.append(circle)


@pytest.mark.parametrize(
    "value",
    [b"bytes", {1, 2}, object(), float("nan"), [float("inf")], circle, {(1, 2): 3}, Nasty(a=1), 1j],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_cannot_hold_is_a_failure_that_says_so(path: Path, value: object) -> None:
    for given_value in (value, CheckResult(value)):
        entry = entry_of(path, returning(given_value))
        assert entry["status"] == "failing"
        assert entry["value"] is None
        assert entry["error"]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner)
        | st.tuples(inner)
        | st.sets(st.integers())
    ),
    max_leaves=8,
)


def entries_of(*functions: checks.Check[object]) -> dict[str, Any]:
    bell = NativeEvent()
    runners = [Runner(check, bell) for check in functions]
    entries = run_together(runners, bell, threading.Event())
    for runner in runners:
        runner.park()
    assert entries is not None
    return entries


@given(values)
def test_any_value_is_either_in_the_report_as_json_has_it_or_a_failure(value: object) -> None:
    entry = entries_of(checks.check(lambda: value, name="check"))["check"]
    written = json.dumps(entry, allow_nan=False)
    if entry["status"] == "ok":
        assert entry["value"] == json.loads(json.dumps(value))
        assert json.loads(written)["error"] is None
    else:
        assert entry["value"] is None
        assert "JSON" in entry["error"]


def test_the_report_holds_a_copy_that_the_check_cannot_change_any_more(path: Path) -> None:
    counter = {"calls": 0}

    def counting() -> Mapping[str, int]:
        counter["calls"] += 1
        return counter

    with leading(path, HealthReporter(0.2, checks=[counting], sinks=[])) as (reports, _):
        reports.wait(lambda report: report["reporter"]["tick"] >= 3)
    values = [report["checks"][next(iter(report["checks"]))]["value"] for report in reports]
    seen = [value["calls"] for value in values if value]  # None if it took too long
    assert seen
    assert seen == sorted(set(seen))


@pytest.mark.parametrize(
    ("results", "overall"),
    [
        ([], "ok"),
        ([("ok", True)], "ok"),
        ([("ok", False), ("degraded", False)], "degraded"),
        ([("degraded", True)], "degraded"),
        ([("failing", False), ("ok", True)], "degraded"),
        ([("degraded", False), ("failing", True)], "failing"),
    ],
)
def test_the_overall_status_is_failing_only_if_a_critical_check_fails(
    path: Path, results: list[tuple[Any, bool]], overall: str
) -> None:
    each = [
        checks.check(returning(CheckResult(7, status, "why")), name=str(number), critical=critical)
        for number, (status, critical) in enumerate(results)
    ]
    with leading(path, HealthReporter(5, checks=each, sinks=[])) as (reports, _):
        report = reports.next()
    assert report["status"] == overall
    for number, (status, critical) in enumerate(results):
        entry = report["checks"][str(number)]
        assert (entry["status"], entry["critical"], entry["value"]) == (status, critical, 7)
        assert entry["error"] == "why"


def test_a_check_knows_the_leadership_it_works_for(path: Path) -> None:
    from leaderlock import current_leadership

    def term() -> int:
        leadership = current_leadership()
        assert isinstance(leadership, Leadership)
        return leadership.term

    assert entry_of(path, term)["value"] == 1


def test_checks_that_were_added_later_are_run_from_the_next_term_on(path: Path) -> None:
    reporter = HealthReporter(0.5, checks=[], sinks=[])
    with leading(path, reporter) as (reports, _):
        assert reports.next()["checks"] == {}
        reporter.checks.append(os.getpid)
        assert reports.next()["checks"] == {}
    with leading(path, reporter) as (reports, _):
        assert reports.next()["checks"]["getpid"]["value"] == os.getpid()


def test_two_checks_of_one_name_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"two checks have the name 'disk:/'.*name="):
        HealthReporter(1, checks=[checks.disk("/"), checks.disk("/")], sinks=[])
    other = checks.disk("/", name="root")
    assert len(HealthReporter(1, [checks.disk("/"), other], []).checks) == 2


def test_a_timeout_longer_than_the_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"timeout of 2 s.*interval is 1 s"):
        HealthReporter(1, checks=[checks.disk("/", timeout=2)], sinks=[])


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("kind", "arguments", "keywords", "text"),
    [
        (TypeError, (42,), {}, "must be a function"),
        (TypeError, (coroutine,), {}, "asyncio.run"),
        (ValueError, (print,), {"name": ""}, "name"),
        (TypeError, (print,), {"name": 3}, "name"),
        (ValueError, (print,), {"timeout": 0}, "timeout"),
        (ValueError, (print,), {"timeout": float("nan")}, "timeout"),
        (TypeError, (print,), {"timeout": "5"}, "timeout"),
        (TypeError, (print,), {"timeout": True}, "timeout"),
    ],
)
def test_a_check_with_a_bad_argument_is_refused_when_it_is_made(
    kind: type[Exception], arguments: tuple[Any, ...], keywords: dict[str, Any], text: str
) -> None:
    with pytest.raises(kind, match=text):
        checks.check(*arguments, **keywords)


def test_a_result_with_a_bad_status_or_error_is_refused() -> None:
    with pytest.raises(ValueError, match="ok, degraded, failing"):
        CheckResult(1, "bad")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="error"):
        CheckResult(1, "ok", 3)  # type: ignore[arg-type]
