"""Sidecars: before the command, beside it, and after it, until nothing is left to be shipped."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import until
from tests.supervisor.pid1 import (
    CATCHER,
    Running,
    children_of,
    needs_namespaces,
    run,
    state_of,
)

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")


def lines_lost_in(runs: int, tmp_path: Path) -> list[tuple[int, str]]:
    """The runs, as PID 1, in which the last line or the status got lost; several at a time."""

    def once(number: int) -> tuple[int, str]:
        shipped = tmp_path / f"shipped-{number}"
        # A shipper that is slow to write, and to a file: it is not the pipe that saves the line.
        shipper = f"sh -c 'cat >{shipped}.part; mv {shipped}.part {shipped}'"
        options = ["--log-sidecar", shipper, "--sidecar-grace", "60"]
        options += ["--", "sh", "-c", "echo last; exit 3"]
        result = run("run", *options, as_pid1=True)
        text = shipped.read_text() if shipped.exists() else ""
        shipped.unlink(missing_ok=True)
        return result.returncode, text

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return [outcome for outcome in pool.map(once, range(runs)) if outcome != (3, "last\n")]


@pytest.mark.slow
@needs_namespaces
def test_the_last_line_reaches_the_log_sidecar_in_1_000_runs_as_pid_1(tmp_path: Path) -> None:
    assert lines_lost_in(1_000, tmp_path) == []


def test_both_outputs_and_those_of_orphans_go_to_the_log_sidecar() -> None:
    script = "echo out; echo err >&2; (sleep 0.2; echo late) & exit 3"
    sed = "sed -u s/^/shipped:/"
    with Running("run", "--stop", "WINCH/1000", "--log-sidecar", sed, "--", "sh", "-c", script) as r:
        assert sorted(r.rest()) == ["shipped:err", "shipped:late", "shipped:out"]
        assert r.wait() == 3
        assert r.said() == ""


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_a_sidecar_starts_before_the_command_and_outlives_it(as_pid1: bool) -> None:
    sidecar = "sh -c 'echo began; cat; echo ended'"
    with Running("run", "--sidecar", sidecar, "--", "sh", "-c", "echo $$ >&2", as_pid1=as_pid1) as r:
        assert r.rest() == ["began", "ended"]
        assert r.wait() == 0
        if as_pid1:  # process IDs grow with each start
            assert int(r.said().split()[-1]) > 2


def test_its_input_is_closed_first_and_it_has_the_grace_to_end_by_itself() -> None:
    sidecar = "sh -c 'cat; echo closed; sleep 0.5; echo flushed'"
    with Running("run", "--sidecar", sidecar, "--sidecar-grace", "60", "--", "true") as running:
        assert running.rest() == ["closed", "flushed"]
        assert running.wait() == 0
        assert running.said() == ""


def once_ready(*options: str) -> Running:
    """A command that exits with 4 when its input is closed: to be done once a sidecar is ready."""
    return Running("run", *options, "--", "sh", "-c", "read x; exit 4", stdin=subprocess.PIPE)


def test_one_that_does_not_end_gets_term_and_then_kill_after_the_grace() -> None:
    with once_ready("--sidecar", " ".join(CATCHER), "--sidecar-grace", "1") as running:
        assert running.line().startswith("up")
        began = time.monotonic()
        running.close_input()
        assert running.line() == str(int(signal.SIGTERM))
        assert running.wait() == 4
        assert time.monotonic() - began >= 1
        assert "has not ended, sending it SIGTERM" in running.said()
        assert "has not ended, sending it SIGKILL" in running.said()


def test_term_and_kill_reach_the_sidecars_children_too() -> None:
    sidecar = "sh -c 'trap \"\" TERM; sleep 1000 & echo $!; wait'"
    with once_ready("--sidecar", sidecar, "--sidecar-grace", "0.2") as running:
        child = int(running.line())
        running.close_input()
        assert running.wait() == 4
        until(lambda: state_of(child) in ("", "Z"), "the sidecar's child to end")


def test_signals_to_leaderlock_are_not_for_the_sidecars() -> None:
    sidecar = " ".join([*CATCHER, "0"])
    with Running("run", "-g", "--sidecar", sidecar, "--sidecar-grace", "1", "--", *CATCHER, "3") as r:
        assert {line[:2] for line in r.lines(2)} == {"up"}
        r.signal(signal.SIGUSR1)
        assert r.line() == str(int(signal.SIGUSR1))
        r.signal(signal.SIGTERM)
        # The command's, and when the grace is over the sidecar's.
        assert r.rest() == [str(int(signal.SIGTERM))] * 2
        assert r.wait() == 3


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("", 0),
        ("trap 'exit 0' TERM", 0),
        ("trap 'exit 7' TERM", 7),
        ("trap 'ulimit -c 0; kill -SEGV $$' TERM", 128 + signal.SIGSEGV),
        ("trap '' TERM", 128 + signal.SIGKILL),
    ],
)
def test_when_a_sidecar_ends_first_the_command_is_stopped(
    command: str, status: int, as_pid1: bool, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    sidecar = f"sh -c 'until [ -e {ready} ]; do sleep 0.01; done; exit 9'"
    options = ["--stop", f"TERM/{0.5 if status == 128 + signal.SIGKILL else 60}/KILL"]
    command += f"\n>{ready}; sleep 1000 & wait; wait"
    result = run("run", *options, "--sidecar", sidecar, "--", "sh", "-c", command, as_pid1=as_pid1)
    assert result.returncode == status
    assert "sidecar sh has ended with status 9: the command is stopped" in result.stderr


def test_a_sidecar_that_ends_first_is_started_again_with_restart(tmp_path: Path) -> None:
    count = tmp_path / "count"
    sidecar = f"sh -c 'echo started >>{count}; echo again; exit 1'"
    options = ["--sidecar", sidecar, "--sidecar-exit", "restart"]
    with Running("run", *options, "--", "sh", "-c", "sleep 1000 & wait") as running:
        assert running.lines(2) == ["again", "again"]
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def test_a_log_sidecar_that_is_started_again_goes_on_reading_where_it_stopped() -> None:
    # `sh` reads one byte at a time, so that it takes one line and not one more.
    sidecar = "sh -c 'read line; echo shipped $line'"
    options = ["--log-sidecar", sidecar, "--sidecar-exit", "restart"]
    script = "echo one; echo two; read x; exit 3"
    with Running("run", *options, "--", "sh", "-c", script, stdin=subprocess.PIPE) as running:
        assert running.lines(2) == ["shipped one", "shipped two"]
        running.close_input()
        assert running.wait() == 3


def test_what_waits_in_the_pipe_of_a_log_sidecar_that_is_to_be_restarted_is_not_lost() -> None:
    sidecar = "sh -c 'read line; echo shipped $line; kill -KILL $$'"
    options = ["--log-sidecar", sidecar, "--sidecar-exit", "restart"]
    script = "echo one; sleep 0.5; echo two; exit 3"  # its restart is due after 1 s
    assert run("run", *options, "--", "sh", "-c", script).stdout == "shipped one\nshipped two\n"


def test_a_sidecar_that_ends_first_may_be_ignored() -> None:
    options = ["--sidecar", "sh -c 'exit 9'", "--sidecar-exit", "ignore"]
    with Running("run", *options, "--", "sh", "-c", "read x; exit 3", stdin=subprocess.PIPE) as r:
        r.until_said("sidecar sh has ended with status 9: so be it")
        r.close_input()
        assert r.wait() == 3


@pytest.mark.parametrize("what", ["stop", "ignore"])
def test_when_the_log_sidecar_has_ended_the_commands_lines_go_to_our_output(what: str) -> None:
    lines = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3"
    script = (
        f"echo up; {lines}" if what == "ignore" else f"trap '{lines}' TERM; echo up; sleep 1000 & wait"
    )
    options = ["--log-sidecar", "sh -c 'read up; exit 9'", "--sidecar-exit", what]
    with Running("run", *options, "--", "sh", "-c", script) as running:
        assert running.rest() == [f"line {n}" for n in range(20_000)]
        assert running.wait() == 3


def test_a_log_sidecar_that_does_not_read_blocks_the_command_but_not_its_stop() -> None:
    options = ["--log-sidecar", " ".join(CATCHER), "--sidecar-grace", "0.2"]
    with Running("run", *options, "--", "yes") as running:
        assert running.line().startswith("up")
        until(lambda: any(map(is_blocked_yes, children_of(running.pid))), "the pipe to be full")
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def is_blocked_yes(pid: int) -> bool:
    """Whether it is `yes` by now, and sleeps: it does only if its output takes no more."""
    return Path(f"/proc/{pid}/comm").read_bytes() == b"yes\n" and state_of(pid) == "S"


def test_the_next_leader_need_not_wait_for_the_sidecars(path: Path) -> None:
    sidecar = "sh -c 'cat; echo closed; exec sleep 1000'"
    options = ["--lock", str(path), "--sidecar", sidecar, "--sidecar-grace", "1000"]
    with Running("run", *options, "--", "true") as running:
        assert running.line() == "closed"
        lock = LeaderLock(path)
        assert lock.acquire(blocking=False)
        lock.release()


def test_sidecars_start_only_with_the_lock(path: Path) -> None:
    with LeaderLock(path):
        result = run("run", "--lock", str(path), "-n", "--sidecar", "echo began", "--", "true")
    assert (result.returncode, result.stdout) == (75, "")


@pytest.mark.parametrize("kind", ["--sidecar", "--log-sidecar"])
@pytest.mark.parametrize("program", ["no-such-program-here", "/no/such/program", "/", "''"])
def test_a_sidecar_that_cannot_be_found_is_refused_before_anything_starts(
    kind: str, program: str, path: Path
) -> None:
    result = run("run", "--lock", str(path), kind, program, "--", "echo", "never")
    assert (result.returncode, result.stdout) == (125, "")
    assert "is not found, or is not a program" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not path.exists()


def test_a_sidecar_inherits_neither_pipe_of_another_one() -> None:
    options = ["--sidecar", "cat", "--log-sidecar", "cat", "--sidecar", "cat"]
    with Running("run", *options, "--", "sh", "-c", "echo up; exec sleep 1000") as running:
        assert running.line() == "up"
        for pid in children_of(running.pid):
            # More than these has only who has not become its program yet.
            until(lambda pid=pid: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"])  # type: ignore[misc]


def test_a_million_lines_come_through(tmp_path: Path) -> None:
    shipped = tmp_path / "shipped"
    shipper = ["--log-sidecar", f"sh -c 'cat >{shipped}'", "--sidecar-grace", "60"]
    result = run("run", *shipper, "--", "seq", "1000000")
    assert result.returncode == 0
    lines = shipped.read_text().splitlines()
    assert len(lines) == 1_000_000
    assert lines[-1] == "1000000"


def test_sidecars_live_on_while_the_command_is_restarted() -> None:
    options = ["--sidecar", "sh -c 'echo began; cat; echo ended'", "--restart", "on-failure"]
    options += ["--restart-limit", "1/60"]
    assert run("run", *options, "--", "sh", "-c", "exit 3").stdout == "began\nended\n"
