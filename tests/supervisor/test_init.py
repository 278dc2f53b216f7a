"""`leaderlock init` beside the real tini and dumb-init: the same cases, with the same outcome."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.processes import until
from tests.supervisor.pid1 import (
    CATCHER,
    LEADERLOCK,
    Running,
    children_of,
    needs_namespaces,
    run,
)
from tests.supervisor.told import managing

OURS = [*LEADERLOCK, "init"]


def installed(name: str) -> object:
    missing = pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    return pytest.param([name], id=name, marks=missing)


TINI = installed("tini")
DUMB_INIT = installed("dumb-init")
LEADERLOCK_INIT = pytest.param(OURS, id="leaderlock init")

like_tini = pytest.mark.parametrize("program", [LEADERLOCK_INIT, TINI])
like_all = pytest.mark.parametrize("program", [LEADERLOCK_INIT, TINI, DUMB_INIT])
everywhere = pytest.mark.parametrize(
    "as_pid1", [pytest.param(True, marks=needs_namespaces), False], ids=["PID 1", "child"]
)


@everywhere
@like_all
@pytest.mark.parametrize("status", [0, 1, 3, 75, 126, 127, 128, 143, 255])
def test_exit_statuses(program: Sequence[str], status: int, as_pid1: bool) -> None:
    command = ["--", "sh", "-c", f"exit {status}"]
    assert run(*command, program=program, as_pid1=as_pid1).returncode == status


@everywhere
@like_all
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGSEGV])
def test_an_end_by_a_signal(program: Sequence[str], number: int, as_pid1: bool) -> None:
    command = ["--", "sh", "-c", f"ulimit -c 0; kill -{number} $$"]
    assert run(*command, program=program, as_pid1=as_pid1).returncode == 128 + number


@like_tini
def test_a_command_that_is_not_found_gives_127_and_one_that_cannot_be_run_126(
    program: Sequence[str], tmp_path: Path
) -> None:
    (tmp_path / "plain").write_text("no program\n")
    assert run("--", "no-such-command-here", program=program).returncode == 127
    assert run("--", str(tmp_path / "plain"), program=program).returncode == 126
    assert run("--", str(tmp_path), program=program).returncode == 126


@like_tini
@pytest.mark.parametrize(
    "words",
    [[], ["-x", "true"], ["-p"], ["-e"], ["-p", "NOPE", "true"], ["-e", "256", "true"],
     ["-e", "-1", "true"], ["-e", "x", "true"], ["-s"], ["--nonsense"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_gives_1(program: Sequence[str], words: list[str]) -> None:
    result = run(*words, program=program)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@like_tini
def test_h_shows_the_options_and_version_the_version(program: Sequence[str]) -> None:
    result = run("-h", program=program)
    assert result.returncode == 0
    for option in ("-s", "-p", "-g", "-e", "-w", "-v", "-l", "-h", "--version"):
        assert f"  {option}" in result.stdout
    result = run("--version", program=program)
    assert (result.returncode, result.stderr) == (0, "")
    assert program[-1].removesuffix("init") in result.stdout or "leaderlock" in result.stdout
    result = run("-l", program=program)
    assert result.returncode == 0
    assert "icen" in result.stdout


@like_tini
@pytest.mark.parametrize(
    ("options", "command", "status"),
    [
        (["-e", "143"], "kill -TERM $$", 0),
        (["-e143"], "exit 143", 0),
        (["-e", "3", "-e", "4"], "exit 4", 0),
        (["-e", "3"], "exit 4", 4),
        (["-e", "0"], "exit 0", 0),
        (["-e", "255"], "exit 255", 0),
    ],
)
def test_e_makes_a_status_0(
    program: Sequence[str], options: list[str], command: str, status: int
) -> None:
    assert run(*options, "--", "sh", "-c", command, program=program).returncode == status


@like_tini
@pytest.mark.parametrize("words", [["-sgwv"], ["-s", "-g"], ["-gvvs"], ["-gpSIGTERM"], ["-vve", "3"]])
def test_options_may_be_joined_as_getopt_has_it(program: Sequence[str], words: list[str]) -> None:
    assert run(*words, "--", "sh", "-c", "exit 5", program=program).returncode == 5
    if program == OURS:  # tini takes what follows the command's name for its own options
        assert run(*words, "sh", "-c", "exit 5", program=program).returncode == 5


@like_tini
def test_the_commands_own_options_are_its_own(program: Sequence[str]) -> None:
    assert run("--", "printf", "%s.", "-s", "--", "-h", program=program).stdout == "-s.--.-h."


@like_all
@everywhere
def test_every_signal_that_tini_forwards_arrives(program: Sequence[str], as_pid1: bool) -> None:
    single = ["--single-child"] if program[0] == "dumb-init" else []
    numbers = [1, 2, 3, 10, 12, 13, 14, 18, 20, 23, 24, 25, 26, 27, 28, 29, 30, 34, 50, 64]
    with Running(*single, "--", *CATCHER, "3", program=program, as_pid1=as_pid1) as running:
        assert running.line().startswith("up")
        for number in numbers:
            if program[0] == "dumb-init" and number in (20, 34, 50, 64):  # it stops, or has no such
                continue
            running.signal(number)
            assert running.line() == str(number)
        running.signal(signal.SIGTERM)
        assert running.rest() == [str(int(signal.SIGTERM))]
        assert running.wait() == 3


GROUP = (
    "trap 'echo own; exit 0' USR1; (trap 'echo other; exit 0' USR1; echo up; sleep 1000 & wait) & wait"
)


@like_tini
@pytest.mark.parametrize(
    ("options", "environment", "expected"),
    [
        ([], {}, {"own"}),
        (["-g"], {}, {"own", "other"}),
        ([], {"TINI_KILL_PROCESS_GROUP": ""}, {"own", "other"}),
        ([], {"TINI_KILL_PROCESS_GROUP": "0"}, {"own", "other"}),  # that it is set is enough
    ],
)
def test_g_sends_signals_to_the_group(
    program: Sequence[str], options: list[str], environment: dict[str, str], expected: set[str]
) -> None:
    command = ["--", "sh", "-c", GROUP]
    with Running(*options, *command, program=program, environment=environment) as running:
        assert running.line() == "up"
        running.signal(signal.SIGUSR1)
        assert set(running.lines(len(expected))) == expected
        assert running.wait() == 0


@like_tini
@pytest.mark.parametrize(
    ("options", "environment", "adopts"),
    [(["-s"], {}, True), ([], {"TINI_SUBREAPER": ""}, True), ([], {}, False)],
)
def test_s_takes_in_orphans(
    program: Sequence[str], options: list[str], environment: dict[str, str], adopts: bool
) -> None:
    script = "(sleep 1000 & echo $!); sleep 1000 & wait"
    command = ["--", "sh", "-c", script]
    with Running(*options, *command, program=program, environment=environment) as running:
        orphan = int(running.line())
        if adopts:
            until(lambda: orphan in children_of(running.pid), "the orphan to be adopted")
            os.kill(orphan, signal.SIGKILL)
            until(lambda: orphan not in children_of(running.pid), "the orphan to be taken in")
        else:
            assert orphan not in children_of(running.pid)
            os.kill(orphan, signal.SIGKILL)
        warned = "not" in running.said().lower() and "1" in running.said()
        assert warned is (not adopts)


@like_tini
def test_p_is_a_signal_for_the_time_when_the_parent_ends(program: Sequence[str]) -> None:
    caught = "trap 'echo caught; exit 0' USR1; echo up; sleep 1000 & wait"
    parent = f'{" ".join(program)} -p SIGUSR1 -- sh -c "{caught}" & wait'
    with Running("-c", parent, program=["sh"]) as running:
        assert running.line() == "up"
        running.process.kill()
        assert running.line() == "caught"


@like_tini
def test_w_warns_of_orphans(program: Sequence[str]) -> None:
    script = "(sleep 0.01 &) ; sleep 1000 & wait"
    with Running("-s", "-w", "--", "sh", "-c", script, program=program) as running:
        until(lambda: "process" in running.said(), "the warning")
    with Running("-s", "--", "sh", "-c", f"{script}", program=program) as running:
        until(lambda: len(children_of(running.pid)) == 1, "the orphan to be taken in")
        assert running.said() == ""


@like_tini
@pytest.mark.parametrize(
    ("options", "verbosity", "says_something"),
    [([], None, True), ([], "0", False), (["-v"], "0", False), (["-vvv"], None, True)],
)
def test_verbosity(
    program: Sequence[str], options: list[str], verbosity: str | None, says_something: bool
) -> None:
    """That it is not PID 1 is a warning, shown from verbosity 1 on. The variable outweighs -v."""
    environment = {} if verbosity is None else {"TINI_VERBOSITY": verbosity}
    result = run(*options, "--", "true", program=program, environment=environment)
    assert result.returncode == 0
    assert bool(result.stderr) is says_something


@pytest.mark.parametrize("value", ["x", "", "99999999999999999999", "-5", "1.5"])
def test_a_verbosity_that_is_no_number_ends_nothing(value: str) -> None:
    result = run("-s", "--", "sh", "-c", "exit 3", program=OURS, environment={"TINI_VERBOSITY": value})
    assert result.returncode == 3
    assert "Traceback" not in result.stderr


def test_our_own_names_stand_for_tinis() -> None:
    variables = {"LEADERLOCK_SUBREAPER": "", "LEADERLOCK_VERBOSITY": "0", "TINI_VERBOSITY": "3"}
    assert run("--", "true", program=OURS, environment=variables).stderr == ""
    command = ["--", "sh", "-c", GROUP]
    variables = {"LEADERLOCK_KILL_PROCESS_GROUP": "1"}
    with Running(*command, program=OURS, environment=variables) as running:
        assert running.line() == "up"
        running.signal(signal.SIGUSR1)
        assert set(running.lines(2)) == {"own", "other"}


@like_tini
def test_term_is_forwarded_each_time_and_there_is_no_schedule(program: Sequence[str]) -> None:
    with Running("--", *CATCHER, "3", "10", program=program) as running:
        assert running.line().startswith("up")
        for _ in range(3):
            running.signal(signal.SIGTERM)
            assert running.line() == "15"
        running.signal(signal.SIGUSR1)
        assert running.wait() == 3


@like_tini
def test_what_the_command_leaves_behind_is_left(program: Sequence[str]) -> None:
    with Running("--", "sh", "-c", "sleep 1000 & echo $!; exit 3", program=program) as running:
        child = int(running.line())
        assert running.wait() == 3
        os.kill(child, 0)
        os.kill(child, signal.SIGKILL)


@like_all
def test_the_command_finds_our_environment_and_descriptors_as_they_were(
    program: Sequence[str], tmp_path: Path
) -> None:
    with managing(tmp_path) as manager:
        variables = {**manager.environment, "WATCHDOG_USEC": "5000000", "LISTEN_FDS": "1"}
        script = "env | grep -E '^(NOTIFY_SOCKET|WATCHDOG_USEC|LISTEN_FDS)='"
        result = run("--", "sh", "-c", script, program=program, environment=variables)
        expected = {f"{name}={value}" for name, value in variables.items()}
        assert set(result.stdout.split()) == expected
        assert manager.is_silent(0)


@like_all
def test_the_command_leads_a_group_or_session_of_its_own(program: Sequence[str]) -> None:
    code = "import os; print(os.getpid() == os.getpgrp())"
    assert run("--", sys.executable, "-S", "-c", code, program=program).stdout == "True\n"


@like_tini
def test_standard_output_that_is_closed_costs_no_status(program: Sequence[str]) -> None:
    all_ways = [">&-", "2>&-", ">/dev/full 2>/dev/full"]
    if program == OURS:  # tini ends with 1: it asks its standard input for the terminal
        all_ways += ["<&-", "<&- >&- 2>&-"]
    for closed in all_ways:
        command = f"{' '.join(program)} -- sh -c 'exit 3' {closed}"
        assert subprocess.run(["sh", "-c", command], timeout=60).returncode == 3
