"""Where seccomp or an old kernel allows no pidfds: SIGCHLD serves as well, or it is refused at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.supervisor import forbidding
from tests.supervisor.pid1 import LEADERLOCK, Running, run, until_ended

PIDFDS = f"{forbidding.PIDFD_OPEN},{forbidding.PIDFD_SEND_SIGNAL}"
PIPE2 = 293 if os.uname().machine == "x86_64" else 59
ERRORS = pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS], ids=errno.errorcode.get)


def without(error: int, calls: str = PIDFDS) -> list[str]:
    return [sys.executable, forbidding.__file__, str(error), calls, *LEADERLOCK]


@ERRORS
@pytest.mark.parametrize("locked", [False, True], ids=["no lock", "lock"])
def test_what_the_command_leaves_behind_is_stopped_without_pidfds(
    path: Path, error: int, locked: bool
) -> None:
    options = ["--lock", str(path)] if locked else []
    script = "sleep 1000 >&- 2>&- & echo $!; exit 5"
    with Running("run", *options, "--", "sh", "-c", script, program=without(error)) as running:
        left = int(running.line())
        assert running.wait() == 5
        until_ended(left)
        assert "Traceback" not in running.said()
    with LeaderLock(path):
        pass


@ERRORS
def test_init_needs_no_pidfds(error: int) -> None:
    result = run("init", "-s", "--", "sh", "-c", "(true &); exit 6", program=without(error))
    assert (result.returncode, result.stderr) == (6, "")


@ERRORS
def test_mainpid_of_a_child_of_ours_works_without_pidfds_and_any_other_is_refused_aloud(
    error: int, path: Path
) -> None:
    from tests.supervisor.told import _PRELUDE

    program = [
        *without(error),
        "run",
        "--lock",
        str(path),
        "--watchdog",
        "1000",
        "--stop",
        "TERM/60/KILL",
    ]
    command = ["--", sys.executable, "-S", "-c", _PRELUDE]
    with Running(*command, program=program, stdin=subprocess.PIPE) as running:
        assert running.line().startswith("up ")

        def tell(source: str) -> None:
            assert running.process.stdin is not None
            running.process.stdin.write(source.encode() + b"\n")
            running.process.stdin.flush()

        tell("child = subprocess.Popen(['sleep', '1000']); notify(f'MAINPID={child.pid}')")
        running.until_said("is ignored: leaderlock cannot watch for its end")
        tell("subprocess.run(['sh', '-c', 'sleep 1000 >&- 2>&- & echo $! >&2'], stderr=1)")
        lines = running.lines(2)
        orphan = next(int(line) for line in lines if line.isdecimal())
        tell(f"notify('MAINPID={orphan}')")
        tell("notify('STATUS=x')")
        running.close_input()
        running.signal(signal.SIGTERM)
        assert running.wait() in (0, 128 + signal.SIGTERM)
        assert "Traceback" not in running.said()


def test_where_no_orphans_can_be_had_either_it_is_refused_at_the_start() -> None:
    calls = f"{PIDFDS},{forbidding.PRCTL}"
    result = run("run", "--", "echo", "never", program=without(errno.EPERM, calls))
    assert (result.returncode, result.stdout) == (125, "")
    assert "PR_SET_CHILD_SUBREAPER" in result.stderr
    assert "pidfd_open" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("subcommand", "status"), [("run", 125), ("init", 1)])
def test_a_system_call_that_fails_at_the_start_is_one_line(subcommand: str, status: int) -> None:
    result = run(subcommand, "--", "echo", "never", program=without(errno.EMFILE, str(PIPE2)))
    assert (result.returncode, result.stdout) == (status, "")
    assert result.stderr.splitlines()[-1].startswith("leaderlock: ")
    assert "Too many open files" in result.stderr
    assert "Traceback" not in result.stderr
