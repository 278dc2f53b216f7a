"""When a command is started again, after how long, and with or without the lock."""

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
from leaderlock.supervisor.restart import RestartPolicy, restart_limit
from tests.processes import until, until_parked, wakeups_of
from tests.supervisor.pid1 import Running, needs_namespaces, run

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")


def failing_until(path: Path, number: int, then: str = "exit 0") -> str:
    """A script that fails with 9 until it has been started so many times."""
    return f"echo x >>{path}; [ $(wc -l <{path}) -lt {number} ] && exit 9; {then}"


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_on_failure_starts_it_again_until_it_succeeds(tmp_path: Path, as_pid1: bool) -> None:
    count = tmp_path / "count"
    script = failing_until(count, 2)
    result = run("run", "--restart", "on-failure", "--", "sh", "-c", script, as_pid1=as_pid1)
    assert result.returncode == 0
    assert count.read_text() == "x\n" * 2
    assert result.stderr == (
        "leaderlock: the command ended with status 9: leaderlock starts it again in 1 s\n"
    )


@pytest.mark.parametrize(("when", "status"), [("never", 9), ("on-failure", 0)])
def test_never_and_success_are_final(tmp_path: Path, when: str, status: int) -> None:
    count = tmp_path / "count"
    script = f"echo x >>{count}; exit {status}"
    assert run("run", "--restart", when, "--", "sh", "-c", script).returncode == status
    assert count.read_text() == "x\n"


def test_always_starts_it_again_after_success_too_until_it_is_stopped() -> None:
    with Running("run", "--restart", "always", "--", "echo", "once") as running:
        assert running.lines(2) == ["once", "once"]
        running.signal(signal.SIGTERM)
        running.wait()
        assert running.rest() == []


def test_a_signal_that_ends_the_command_from_elsewhere_is_a_failure() -> None:
    script = "trap '' TERM; echo $$; kill -KILL $$"  # our signal may find it still alive
    with Running("run", "--restart", "on-failure", "--", "sh", "-c", script) as r:
        assert len(set(r.lines(2))) == 2
        r.signal(signal.SIGTERM)
        assert r.wait() == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_who_stops_us_wants_no_restart(number: signal.Signals) -> None:
    script = "trap 'exit 9' TERM INT QUIT; echo up; sleep 1000 & wait"
    with Running("run", "--restart", "always", "--", "sh", "-c", script) as running:
        assert running.line() == "up"
        running.signal(number)
        assert running.wait() == 9
        assert running.rest() == []


def test_a_hup_makes_it_start_again_as_a_reload() -> None:
    with Running("run", "--restart", "always", "--", "sh", "-c", "echo $$; exec sleep 1000") as r:
        first = r.line()
        r.signal(signal.SIGHUP)
        assert r.line() not in ("", first)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_during_the_delay_ends_it_at_once_with_the_last_status(number: signal.Signals) -> None:
    script = "echo up; exit 9"
    with Running("run", "--restart", "on-failure", "--restart-limit", "99/60", "--", "sh", "-c",
                 script) as running:  # fmt: skip
        assert running.lines(3) == ["up"] * 3
        running.until_said("again in 4 s")
        began = time.monotonic()
        running.signal(number)
        assert running.wait() == 9
        assert time.monotonic() - began < 3


def test_the_limit_ends_it_with_the_last_status(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo x >>{count}; exit 9"
    options = ["--restart", "always", "--restart-limit", "1/60"]
    result = run("run", *options, "--", "sh", "-c", script)
    assert result.returncode == 9
    assert count.read_text() == "x\n" * 2
    assert "the restart limit is reached" in result.stderr


def test_the_delay_doubles_up_to_30_seconds_and_begins_anew_after_a_long_run() -> None:
    policy = RestartPolicy("always", 100, 60)
    delays = [policy.delay_before_restart(1, 0.1) for _ in range(7)]
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert policy.delay_before_restart(1, 61) == 1
    assert policy.delay_before_restart(1, 0.1) == 2
    assert not policy.is_exhausted


@given(st.one_of(st.text(), st.tuples(st.text(), st.text()).map("/".join), st.from_regex(r"\d+/\d+")))
def test_any_text_is_a_limit_or_a_value_error(text: str) -> None:
    try:
        number, seconds = restart_limit(text)
    except ValueError:
        return
    assert number >= 0
    assert 0 < seconds < 1e9


def test_the_lock_is_kept_across_a_restart_with_its_term(path: Path, tmp_path: Path) -> None:
    script = failing_until(tmp_path / "count", 2, "echo again $LEADERLOCK_TERM; exec sleep 1000")
    options = ["--lock", str(path), "--restart", "on-failure"]
    with Running("run", *options, "--", "sh", "-c", f"echo $LEADERLOCK_TERM; {script}") as running:
        assert running.line() == "1"
        running.until_said("starts it again in 1 s")
        assert not LeaderLock(path).acquire(blocking=False)
        assert running.lines(2) == ["1", "again 1"]


def test_with_resign_on_failure_another_one_leads_in_between(path: Path, tmp_path: Path) -> None:
    script = failing_until(tmp_path / "count", 2, "exit 0")
    options = ["--lock", str(path), "--restart", "on-failure", "--resign-on-failure"]
    script = f"echo $LEADERLOCK_TERM; read x; {script}"
    other = ["--", "sh", "-c", "echo $LEADERLOCK_TERM; exec sleep 1000"]
    with Running("run", *options, "--", "sh", "-c", script, stdin=subprocess.PIPE) as first:
        assert first.line() == "1"
        with Running("run", "--lock", str(path), *other) as second:
            until_parked(path, second.pid)
            first.close_input()
            assert second.line() == "2"
            until_parked(path, first.pid)
            second.signal(signal.SIGTERM)
            assert second.wait() == 128 + signal.SIGTERM
        assert first.line() == "3"
        assert first.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_wait_for_a_lock_that_was_given_away(
    path: Path, number: signal.Signals
) -> None:
    options = ["--lock", str(path), "--restart", "on-failure", "--resign-on-failure"]
    with Running("run", *options, "--", "sh", "-c", "echo up; read x; exit 9") as running:
        assert running.line() == "up"
        lock = LeaderLock(path)
        assert lock.acquire(timeout=60)
        until_parked(path, running.pid)
        running.signal(number)
        assert running.wait() == 128 + number
        lock.release()


def test_a_sidecars_end_ends_the_wait_for_a_lock_that_was_given_away(path: Path) -> None:
    options = ["--lock", str(path), "--restart", "on-failure", "--resign-on-failure"]
    with Running("run", *options, "--sidecar", "sh -c 'echo $$; exec cat'", "--", "sh", "-c",
                 "exit 9") as running:  # fmt: skip
        sidecar = int(running.line())
        lock = LeaderLock(path)
        assert lock.acquire(timeout=60)
        until_parked(path, running.pid)
        os.kill(sidecar, signal.SIGKILL)
        assert running.wait() == 9
        lock.release()


def test_a_command_that_is_not_found_is_tried_no_more_often_than_the_limit() -> None:
    result = run("run", "--restart", "on-failure", "--restart-limit", "1/60", "--", "no-such-thing")
    assert result.returncode == 127
    assert result.stderr.count("cannot run no-such-thing") == 2


def wakeups_while_nothing_happens(pid: int) -> int:
    """How often its threads ran in 3 s; it is said to do nothing from now on."""
    # Whatever its start still had to do is over when the counts stand still for a moment.
    last: dict[int, int] = {}
    until(lambda: settled(pid, last), "it to come to rest")
    before = wakeups_of(pid)
    time.sleep(3)
    after = wakeups_of(pid)
    assert set(before) == set(after)
    return sum(after.values()) - sum(before.values())


def settled(pid: int, last: dict[int, int]) -> bool:
    now = wakeups_of(pid)
    same = now == last
    last.clear()
    last.update(now)
    time.sleep(0.2)
    return same


@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_nothing_wakes_up_while_nothing_happens(subcommand: str) -> None:
    with Running(subcommand, "--", "sh", "-c", "echo up; exec sleep 1000") as running:
        assert running.line() == "up"
        assert wakeups_while_nothing_happens(running.pid) == 0


def test_nothing_wakes_up_while_leading_nor_while_standing_by(path: Path) -> None:
    sidecars = ["--sidecar", "cat", "--log-sidecar", "cat", "--watchdog", "1000"]
    with Running(
        "run", "--lock", str(path), *sidecars, "--", "sh", "-c", "echo up; exec sleep 1000"
    ) as leader:
        assert leader.line() == "up"
        with Running("run", "--lock", str(path), "-w", "1000", *sidecars, "--", "true") as standby:
            until_parked(path, standby.pid)
            assert wakeups_while_nothing_happens(standby.pid) == 0
            assert wakeups_while_nothing_happens(leader.pid) == 0
