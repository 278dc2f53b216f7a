"""A command that may not be signalled, and failures of leaderlock's own: the lock outlives neither."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.pid1 import LEADERLOCK, Running, in_session

NOBODY = 65534
# May read everything, since Python may lie in a directory that is closed to it; may not kill.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override"),
]


@pytest.fixture
def becomes_root(tmp_path: Path) -> Iterator[str]:
    """A program that takes root's identity, so that the user who has started it may not signal it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a program set-user-ID to root")
    tmp_path.chmod(0o777)
    # Not in pytest's directories, which access(2) would find closed to that user.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        program = Path(directory) / "setpriv"
        shutil.copy(shutil.which("setpriv") or "", program)
        program.chmod(0o4755)
        yield f"{program} --reuid=0"


def run_as_nobody(*words: str) -> Running:
    return Running("run", *words, program=[*AS_NOBODY, *LEADERLOCK], stdin=subprocess.PIPE)


def is_free(path: Path) -> bool:
    """LeaderLock would refuse the file of another user."""
    return subprocess.run(["flock", "--nonblock", path, "true"]).returncode == 0


# It tries for the lock itself at its end, so it knows whether anybody else could have had it.
LOOKS = "read x; flock -n {path} echo free || echo kept; exit 3"


@pytest.mark.parametrize(
    "schedule", ["TERM/0.1/KILL/0.1", "TERM/0.1", "USR1/0/TERM/0/KILL/0"], ids=["kill", "term", "three"]
)
def test_a_command_that_may_not_be_signalled_keeps_the_lock_and_leaderlock_until_its_end(
    path: Path, becomes_root: str, schedule: str
) -> None:
    script = f"echo up; {LOOKS.format(path=path)}"
    command = [*becomes_root.split(), "sh", "-c", script]
    with run_as_nobody("--lock", str(path), "--stop", schedule, "--", *command) as running:
        assert running.line() == "up"
        for number in (signal.SIGWINCH, signal.SIGHUP, signal.SIGTERM):
            running.signal(number)
        running.until_said("leaderlock keeps the lock and waits for its end")
        assert not is_free(path)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGUSR1)
        running.close_input()
        assert running.line() == "kept"
        assert running.wait() == 3
        said = running.said()
    assert said.count("Operation not permitted") <= 2  # of the process, and of its group
    assert "Traceback" not in said
    assert is_free(path)


def test_a_leftover_that_may_not_be_signalled_keeps_the_lock_until_its_end(
    path: Path, becomes_root: str
) -> None:
    ready = path.with_name("ready")  # it has become root, before anything signals it
    os.mkfifo(ready, 0o666)
    looks = f"echo >{ready}; echo up; {LOOKS.format(path=path)}"
    script = f'{becomes_root} sh -c "{looks}" <&3 & read go <{ready}; exit 7'
    options = ["--lock", str(path), "--stop", "TERM/0.1/KILL/0.1"]
    with run_as_nobody(*options, "--", "sh", "-c", f"exec 3<&0; {script}") as running:
        assert running.line() == "up"
        running.until_said("leaderlock keeps the lock and waits for its end")
        assert not is_free(path)
        running.close_input()
        assert running.line() == "kept"
        assert running.wait() == 7


def test_a_hung_command_that_may_not_be_signalled_keeps_the_lock(path: Path, becomes_root: str) -> None:
    command = [*becomes_root.split(), "sh", "-c", f"echo up; {LOOKS.format(path=path)}"]
    with run_as_nobody("--lock", str(path), "--watchdog", "0.1", "--", *command) as running:
        assert running.line() == "up"
        running.until_said("cannot send SIGABRT")
        running.close_input()
        assert running.line() == "kept"
        assert running.wait() == 3
        assert "Traceback" not in running.said()


def test_a_sidecar_that_may_not_be_signalled_is_left_to_itself(becomes_root: str) -> None:
    options = [
        "--sidecar-grace",
        "0.1",
        "--sidecar",
        f"{becomes_root} sh -c 'echo up; exec sleep 1000'",
    ]
    with run_as_nobody(*options, "--", "sh", "-c", "read x; exit 4") as running:
        assert running.line() == "up"
        running.close_input()
        assert running.wait() == 4
        assert "leaderlock no longer waits for it" in running.said()


# Runs leaderlock with one function of the supervisor's that raises when it is first called.
BROKEN = """\
import sys
from leaderlock.supervisor import command, loop, main_process, reaper, supervisor
from leaderlock.cli import entry
place, raised = sys.argv.pop(1), []
owner, name = place.rsplit(".", 1)
module, kind = owner.split(".")
kind = getattr(globals()[module], kind)
original = getattr(kind, name)
def broken(self, *arguments):
    if not raised:
        raised.append(1)
        raise ZeroDivisionError("by the test")
    return original(self, *arguments)
setattr(kind, name, broken)
entry()
"""


@pytest.mark.parametrize(
    "place",
    [
        "command.SupervisedCommand._on_main_end",
        "command.SupervisedCommand.forward",
        "command.SupervisedCommand.stop",
        "main_process.MainProcess._end",
        "reaper.Reaper.collect",
        "supervisor.Supervisor._on_command_gone",
        "supervisor.Supervisor._on_signal",
        "supervisor.Supervisor._end",
    ],
)
def test_an_unexpected_exception_is_one_line_and_the_lock_is_kept_until_the_command_has_ended(
    path: Path, place: str
) -> None:
    look = f"flock -n {path} echo free || echo kept"
    script = f"trap '{look}; exit 5' TERM; echo up; sleep 1000 & wait"
    program = [sys.executable, "-c", BROKEN, place]
    with Running(
        *("run", "--lock", str(path), "--sidecar", "cat", "--sidecar-grace", "0.2"),
        *("--", "sh", "-c", script),
        program=program,
    ) as running:
        assert running.line() == "up"
        running.signal(signal.SIGUSR2 if place.endswith("forward") else signal.SIGTERM)
        if place.endswith(("forward", "_on_signal", "stop")):  # the failure has swallowed the first
            running.until_said("ZeroDivisionError")
            running.signal(signal.SIGTERM)
        assert running.line() == "kept"
        assert running.wait() == 125
        said = running.said()
        assert in_session(running.pid) == []
    assert said.count("ZeroDivisionError: by the test") == 1
    assert "Traceback" not in said
    assert is_free(path)


def test_an_unexpected_exception_during_the_wait_leaves_neither_lock_nor_command(path: Path) -> None:
    program = [sys.executable, "-c", BROKEN, "loop.Loop._call_due_timers"]
    with Running("run", "--lock", str(path), "--", "echo", "up", program=program) as running:
        assert running.wait() == 125
        assert running.rest() == []
        assert running.said().count("ZeroDivisionError: by the test") == 1
    assert is_free(path)


@pytest.mark.slow
def test_a_handler_that_raises_at_any_instant_frees_leaks_and_hangs_nothing(path: Path) -> None:
    program = [sys.executable, "-m", "tests.supervisor.raising", str(path), "400", "1"]
    result = subprocess.run(program, capture_output=True, text=True, timeout=600)
    [*wrong, last] = result.stdout.splitlines()
    assert wrong == []
    assert int(last.removeprefix("hits ")) > 50
    assert is_free(path)
