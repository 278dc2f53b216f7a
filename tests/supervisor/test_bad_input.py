"""What must be survived: closed and full outputs, commands that obey nothing, wrong options."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import LeaderLock
from leaderlock.cli.options import Option, Parsed, UsageError, parse, seconds
from tests.processes import PATIENCE
from tests.supervisor.pid1 import CATCHER, LEADERLOCK, Running, needs_namespaces, run, until_ended

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")


@pytest.mark.parametrize("subcommand", ["run", "init", "run -vv", "run --log-sidecar cat"])
@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"]
)
def test_closed_or_full_outputs_cost_no_status(subcommand: str, closed: str, tmp_path: Path) -> None:
    command = f"{' '.join(LEADERLOCK)} {subcommand} -- sh -c 'exit 3'"
    status = tmp_path / "status"
    shell = f"{{ {command}; echo $? >{status}; }} {closed}"
    subprocess.run(["sh", "-c", shell], timeout=PATIENCE)
    assert status.read_text() == "3\n"


def test_a_closed_output_does_not_become_the_lock_file(path: Path) -> None:
    command = f"{' '.join(LEADERLOCK)} run --lock {path} -- sh -c 'echo oops' <&- >&- 2>&-"
    subprocess.run(["sh", "-c", command], timeout=PATIENCE)
    assert "oops" not in path.read_text()
    with LeaderLock(path) as lock:
        assert lock.locked()  # it can be read


@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_a_full_pipe_that_nobody_reads_at_our_messages_end_does_not_hold_us_up(subcommand: str) -> None:
    unread, full = os.pipe()
    fcntl.fcntl(full, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while True:
            os.write(full, b"x" * 4096)
    except BlockingIOError:
        pass
    fcntl.fcntl(full, fcntl.F_SETFL, 0)
    process = subprocess.Popen(
        [*LEADERLOCK, subcommand, "-vvv", "--", *CATCHER, "3"], stdout=subprocess.PIPE, stderr=full
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"up")
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == b"10\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        os.close(unread)
        os.close(full)


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_a_command_that_ignores_every_signal_is_killed_by_the_schedule(as_pid1: bool) -> None:
    with Running("run", "--stop", "TERM/0.2/KILL/5", "--", *CATCHER, as_pid1=as_pid1) as running:
        assert running.line().startswith("up")
        pid = running.pid
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):  # it may be over by then
                os.kill(pid, number)
        assert running.wait() == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("options", "as_pid1"),
    [pytest.param([], True, marks=needs_namespaces), (["-s"], False)],
    ids=["as PID 1", "-s"],
)
def test_a_command_that_double_forks_is_over_when_its_daemon_is(
    options: list[str], as_pid1: bool
) -> None:
    script = "(setsid sh -c 'trap \"echo bye; exit 0\" TERM; echo up; sleep 1000 & wait' &) ; exit 4"
    with Running("run", *options, "--", "sh", "-c", script, as_pid1=as_pid1) as running:
        assert set(running.rest()) <= {"up", "bye"}
        assert running.wait() == 4


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--stop", "NOPE/5"], "there is no signal 'NOPE'"),
        (["-p", "NOPE"], "there is no signal 'NOPE'"),
        (["-p", "0"], "there is no signal '0'"),
        (["-p", "65"], "there is no signal '65'"),
        (["--restart", "sometimes"], "never, on-failure or always is needed"),
        (["--restart-limit", "5"], "as in 5/60"),
        (["--restart-limit", "-1/60"], "as in 5/60"),
        (["--sidecar-exit", "x"], "stop, restart or ignore is needed"),
        (["--sidecar", ""], "a command is needed"),
        (["--sidecar", "sh -c 'x"], "No closing quotation"),
        (["--sidecar-grace", "-1"], "not negative"),
        (["--sidecar-grace", "nan"], "not negative"),
        (["--watchdog", "0"], "more than 0"),
        (["--watchdog", "x"], "a number of seconds"),
        (["--ready-timeout", "0"], "more than 0"),
        (["--resign-on-failure"], "there is no lock"),
        (["--lock", "/tmp/x", "-F", "--restart", "always"], "--exec leaves no parent"),
        (["--lock", "/tmp/x", "-F", "--sidecar", "cat"], "--exec leaves no parent"),
        (["--lock", "/tmp/x", "-F", "--watchdog", "5"], "--exec leaves no parent"),
        (["--lock", "/tmp/x", "-F", "-s"], "--exec leaves no parent"),
    ],
)
def test_wrong_options_give_2_and_one_line_before_anything_starts(
    words: list[str], complaint: str
) -> None:
    result = run("run", *words, "--", "echo", "never")
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_nothing_is_left_of_a_command_that_forks_on_term() -> None:
    script = "trap 'sleep 1000 & echo $!; exit 5' TERM; echo up; sleep 1000 & wait"
    with Running("run", "--", "sh", "-c", script) as running:
        assert running.line() == "up"
        running.signal(signal.SIGTERM)
        late = int(running.line())
        assert running.wait() == 5
        until_ended(late)


def test_exec_keeps_the_lock_as_long_as_a_child_has_the_descriptor_and_the_supervisor_does_not(
    path: Path,
) -> None:
    script = "sleep 1000 >&- 2>&- & echo $!; exit 0"
    for options, kept in ((["--exec"], True), ([], False)):
        with Running("run", "--lock", str(path), *options, "--", "sh", "-c", script) as running:
            child = int(running.line())
            assert running.wait() == 0
            lock = LeaderLock(path)
            free = lock.acquire(blocking=False)
            assert free is not kept
            if kept:
                os.kill(child, signal.SIGKILL)
                assert lock.acquire(timeout=PATIENCE)
            lock.release()


OPTIONS = (
    Option("-n", "--none", help=""),
    Option("-v", "--verbose", help=""),
    Option("-w", "--wait", value="SECONDS", convert=seconds, help=""),
    Option("--many", value="X", many=True, help=""),
)
WORDS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["--", "-", "-n", "-nv", "-w", "-w5", "-nw", "--wait=5", "--wait=", "--many", "-wx"]
    ),
)


@given(st.lists(WORDS), st.booleans())
def test_any_arguments_are_parsed_or_a_usage_error(words: list[str], to_first_word: bool) -> None:
    before = list(words)
    try:
        parsed: Parsed = parse(OPTIONS, words, to_first_word=to_first_word)
    except UsageError:
        return
    finally:
        assert words == before
    assert set(parsed.values) <= {"none", "verbose", "wait", "many"}
    assert parsed.get("wait", 0.0) >= 0
    # No word is made up, and their order is kept.
    rest = iter(words)
    assert all(word in rest for word in parsed.words)
