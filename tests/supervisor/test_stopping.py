"""The stop schedule: each of its stages, what is stopped by it, and when leaderlock may exit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import LeaderLock
from leaderlock.supervisor.schedule import Schedule
from tests.supervisor.pid1 import CATCHER, Running, needs_namespaces, run, state_of, until_ended

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")
TSTP, TERM = str(int(signal.SIGTSTP)), str(int(signal.SIGTERM))


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_each_stage_sends_its_signal_and_kill_ends_what_ignores_all(as_pid1: bool) -> None:
    with Running(
        "run", "--stop", "TSTP/0.2/USR1/0/TERM/0.3/KILL/5", "--", *CATCHER, as_pid1=as_pid1
    ) as running:
        assert running.line().startswith("up")
        began = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.line() == TSTP
        # USR1 and TERM together: the lower number may overtake the other.
        assert sorted(running.rest()) == sorted([str(int(signal.SIGUSR1)), TERM])
        assert time.monotonic() - began >= 0.5
        assert running.wait() == 128 + signal.SIGKILL
        assert "sending SIGKILL" in running.said()


def test_the_form_of_the_issue_lets_a_worker_that_takes_no_more_work_finish() -> None:
    with Running("run", "--stop", "TSTP/0/TERM/25/KILL/5", "--", *CATCHER, "4") as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGTERM)
        assert set(running.rest()) <= {TSTP, TERM}
        assert running.wait() == 4


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_a_second_term_skips_nothing_and_repeats_nothing(as_pid1: bool) -> None:
    with Running("run", "--stop", "TSTP/0.7/TERM/5/KILL", "--", *CATCHER, "6", as_pid1=as_pid1) as r:
        assert r.line().startswith("up")
        began = time.monotonic()
        r.signal(signal.SIGTERM)
        assert r.line() == TSTP
        r.signal(signal.SIGTERM)
        r.signal(signal.SIGTERM)
        assert r.rest() == [TERM]
        assert time.monotonic() - began >= 0.7
        assert r.wait() == 6


def test_other_signals_still_reach_a_command_that_is_being_stopped() -> None:
    with Running("run", "--stop", "TSTP/1000/KILL", "--", *CATCHER, "2", "12") as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGTERM)
        assert running.line() == TSTP
        running.signal(signal.SIGUSR2)
        assert running.line() == "12"
        assert running.wait() == 2


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_a_command_that_tstp_has_stopped_is_continued_so_that_term_ends_it(as_pid1: bool) -> None:
    with Running(
        "run", "--stop", "TSTP/0.2/TERM/1000/KILL", "--", "sh", "-c", "echo $$; exec sleep 1000",
        as_pid1=as_pid1,
    ) as running:  # fmt: skip
        running.line()
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def test_a_command_that_somebody_has_stopped_is_continued_so_that_term_ends_it() -> None:
    with Running("run", "--", "sh", "-c", "echo $$; exec sleep 1000") as running:
        pid = int(running.line())
        os.kill(pid, signal.SIGSTOP)
        while state_of(pid) != "T":
            os.sched_yield()
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def test_kill_goes_to_the_whole_group() -> None:
    script = "trap '' TERM; sleep 1000 & echo $!; sleep 1000 & echo $!; wait"
    with Running("run", "--stop", "TERM/0.1/KILL", "--", "sh", "-c", script) as running:
        children = [int(line) for line in running.lines(2)]
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGKILL
        assert [state_of(pid) for pid in children] in (["", ""], ["Z", "Z"], ["Z", ""], ["", "Z"])


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_what_the_command_leaves_in_its_group_is_asked_before_it_is_killed(as_pid1: bool) -> None:
    polite = "trap 'sleep 0.2; echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    script = f'sh -c "{polite}" & read x; exit 3'
    with Running("run", "--", "sh", "-c", script, as_pid1=as_pid1, stdin=subprocess.PIPE) as running:
        assert running.line() == "up"
        running.close_input()
        assert running.line() == "goodbye"
        assert running.wait() == 3


@pytest.mark.parametrize(
    ("options", "as_pid1"),
    [
        pytest.param([], True, marks=needs_namespaces, id="as PID 1"),
        pytest.param(["-s"], False, id="with -s"),
    ],
)
def test_a_daemon_that_has_left_group_and_session_is_asked_too(
    options: list[str], as_pid1: bool
) -> None:
    polite = "trap 'sleep 0.2; echo goodbye; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    script = f'(setsid sh -c "{polite}" &) ; read x; exit 3'
    with Running(
        "run", *options, "--", "sh", "-c", script, as_pid1=as_pid1, stdin=subprocess.PIPE
    ) as running:
        assert running.line() == "up"
        running.close_input()
        assert running.line() == "goodbye"
        assert running.wait() == 3


def test_leftovers_that_ignore_everything_are_killed_by_the_schedule() -> None:
    script = "(trap '' TERM; echo up; exec sleep 1000) & echo $!; read x; exit 3"
    with Running(
        "run", "--stop", "TERM/0.2/KILL/5", "--", "sh", "-c", script, stdin=subprocess.PIPE
    ) as running:
        pid = next(int(line) for line in running.lines(2) if line != "up")
        running.close_input()
        assert running.wait() == 3
        until_ended(pid)


def test_a_stopped_leftover_is_continued_and_tstp_is_not_for_it() -> None:
    script = "sleep 1000 & kill -STOP $!; echo $!; exit 3"
    with Running("run", "--stop", "TSTP/0/TERM/1000/KILL", "--", "sh", "-c", script) as running:
        pid = int(running.line())
        assert running.wait() == 3
        until_ended(pid)


def test_the_lock_is_kept_until_the_leftovers_are_gone(path: Path) -> None:
    script = "(trap 'echo asked' TERM; echo up; while :; do sleep 0.02; done) & echo $!; read x; exit 3"
    with Running(
        "run", "--lock", str(path), "--stop", "TERM/1000/KILL", "--", "sh", "-c", script,
        stdin=subprocess.PIPE,
    ) as running:  # fmt: skip
        leftover = next(int(line) for line in running.lines(2) if line != "up")
        running.close_input()
        assert running.line() == "asked"
        lock = LeaderLock(path)
        assert not lock.acquire(blocking=False)
        os.kill(leftover, signal.SIGKILL)
        assert lock.acquire(timeout=60)
        lock.release()
        assert running.wait() == 3


def test_a_schedule_without_kill_gives_up_at_its_end_with_the_status_of_its_last_signal() -> None:
    with Running("run", "--stop", "TERM/0.2", "--", *CATCHER) as running:
        pid = int(running.line().split()[1])
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert "no longer waits for it" in running.said()
        os.kill(pid, signal.SIGKILL)


def test_under_a_lock_nothing_is_left_to_itself(path: Path) -> None:
    with Running("run", "--lock", str(path), "--stop", "TERM/0.2", "--", *CATCHER) as running:
        pid = int(running.line().split()[1])
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGKILL
        assert state_of(pid) in ("", "Z")


def test_a_last_signal_without_seconds_waits_as_long_as_it_takes() -> None:
    with Running("run", "--stop", "TERM", "--", *CATCHER, "9", "10") as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGTERM)
        assert running.line() == TERM
        with pytest.raises(TimeoutError):
            running.line(timeout=0.3)
        running.signal(signal.SIGUSR1)
        assert running.wait() == 9


def test_a_stage_may_last_for_years() -> None:
    with Running("run", "--stop", "USR2/999999999/KILL", "--", *CATCHER, "9", "10") as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGTERM)
        assert running.line() == "12"
        running.signal(signal.SIGUSR1)
        assert running.wait() == 9


@pytest.mark.parametrize(
    "text",
    ["", "25", "TERM/", "/TERM", "TERM//KILL", "TERM/5/5", "NOPE", "TERM/x", "TERM/nan", "TERM/inf",
     "TERM/-inf", "0/TERM", "TERM KILL", "SIG", "SIG_DFL", "TERM/5/99", "RTMIN+99", "-", "TERM/1_0"],
)  # fmt: skip
def test_a_schedule_that_cannot_be_read_is_refused_at_the_start(text: str) -> None:
    result = run("run", "--stop", text, "--", "echo", "never")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"leaderlock run: --stop {text}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("TERM", [(15, None)]),
        ("TERM/25/KILL/5", [(15, 25), (9, 5)]),
        ("TSTP/0/TERM/25/KILL/5", [(20, 0), (15, 25), (9, 5)]),
        ("-TERM/5/-9", [(15, 5), (9, None)]),
        ("SIGTERM/0.5/sigkill", [(15, 0.5), (9, None)]),
        ("INT/TERM/KILL", [(2, 0), (15, 0), (9, None)]),
        ("RTMIN+3/4/KILL", [(37, 4), (9, None)]),
        ("TERM/1.023456789/KILL", [(15, 1.023456789), (9, None)]),
        ("TERM/0/KILL/0", [(15, 0), (9, 0)]),
    ],
)
def test_schedules_are_read_as_start_stop_daemon_reads_them(
    text: str, stages: list[tuple[int, float | None]]
) -> None:
    assert [(stage.signal, stage.seconds) for stage in Schedule(text).stages] == stages


WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["TERM", "KILL", "-9", "5", "0.5", "", "-", "RTMIN+", "1e999", "\ud800"]),
    st.floats().map(str),
    st.integers().map(str),
)


@given(st.one_of(st.text(), st.lists(WORDS).map("/".join)))
def test_any_text_is_a_schedule_or_a_value_error(text: str) -> None:
    try:
        schedule = Schedule(text)
    except ValueError:
        return
    assert schedule.stages
    valid = {int(number) for number in signal.valid_signals()}
    assert {stage.signal for stage in schedule.stages} <= valid
    waits = [stage.seconds for stage in schedule.stages]
    assert None not in waits[:-1]
    assert all(wait is None or 0 <= wait < float("inf") for wait in waits)
