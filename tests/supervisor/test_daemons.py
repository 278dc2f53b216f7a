"""Daemons under a lock: none runs beside the next leader's; `--follow` takes one for the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import PATIENCE, until_parked
from tests.supervisor.pid1 import Running, run, state_of, until_ended

# A daemon as the books have it: two forks and a session of its own; it ends, with 6, by TERM.
DAEMON = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
if os.fork(): os._exit(int(sys.argv[1]))
os.setsid()
if os.fork(): os._exit(0)
os.write(1, b"daemon %d\\n" % os.getpid())
while True:
    number = signal.sigwait({signal.SIGTERM, signal.SIGUSR1})
    os.write(1, b"got %d\\n" % number)
    if number == signal.SIGTERM: os._exit(6)
"""


def daemon(status: int = 0) -> list[str]:
    return [sys.executable, "-S", "-c", DAEMON, str(status)]


def test_a_daemon_never_runs_beside_that_of_the_next_leader(path: Path) -> None:
    command = ["run", "--lock", str(path), "--", *daemon()]
    with Running(*command) as first:
        first_daemon = int(first.line().removeprefix("daemon "))
        assert first.lines(2) == [f"got {int(signal.SIGTERM)}", ""]
        assert first.wait() == 0
        assert state_of(first_daemon) == ""
        said = first.said()
    assert f"left process {first_daemon} (" in said
    assert "Run it in the foreground, or use --follow" in said
    assert said.count("\n") == 1


def test_the_lock_is_free_only_when_the_daemon_has_ended(path: Path) -> None:
    script = "trap '' TERM; setsid sh -c 'echo up; read x' <&3 & exit 3"  # ignored from its start
    options = ["--lock", str(path), "--stop", "TERM/1000/KILL"]
    with Running(
        "run", *options, "--", "sh", "-c", f"exec 3<&0; {script}", stdin=subprocess.PIPE
    ) as running:
        assert running.line() == "up"
        running.until_said("left process")
        with Running("run", "--lock", str(path), "--", "echo", "next") as standby:
            until_parked(path, standby.pid)
            assert not LeaderLock(path).acquire(blocking=False)
            running.close_input()
            assert standby.line() == "next"
            assert running.wait() == 3


def test_with_follow_the_daemon_is_the_command(path: Path) -> None:
    with Running("run", "--lock", str(path), "--follow", "-v", "--", *daemon()) as running:
        pid = int(running.line().removeprefix("daemon "))
        running.until_said(f"the command is process {pid} from now on")
        running.signal(signal.SIGUSR1)
        assert running.line() == f"got {int(signal.SIGUSR1)}"
        assert not LeaderLock(path).acquire(blocking=False)
        running.signal(signal.SIGTERM)
        assert running.line() == f"got {int(signal.SIGTERM)}"
        assert running.wait() == 6
        assert "behind" not in running.said()


def test_follow_needs_no_lock_and_a_daemon_that_fails_is_started_again() -> None:
    with Running("run", "--follow", "--restart", "on-failure", "-v", "--", *daemon()) as running:
        first = int(running.line().removeprefix("daemon "))
        running.until_said(f"the command is process {first} from now on")
        os.kill(first, signal.SIGKILL)
        second = int(running.line().removeprefix("daemon "))
        running.until_said(f"the command is process {second} from now on")
        assert "ended with status 137" in running.said()
        running.signal(signal.SIGTERM)
        assert running.line() == f"got {int(signal.SIGTERM)}"
        assert running.wait() == 6


def test_a_command_that_fails_is_not_followed() -> None:
    with Running("run", "--follow", "--", *daemon(4)) as running:
        pid = int(running.line().removeprefix("daemon "))
        assert running.line() == f"got {int(signal.SIGTERM)}"
        assert running.wait() == 4
        until_ended(pid)


@pytest.mark.parametrize(("keeps", "free"), [("", False), ("$LEADERLOCK_FD>&-", True)])
def test_with_exec_a_daemon_keeps_the_lock_only_with_its_descriptor(
    path: Path, keeps: str, free: bool
) -> None:
    script = f'eval "setsid sleep 1000 >&- 2>&- {keeps} & echo \\$!"'
    result = run("run", "--lock", str(path), "--exec", "--", "bash", "-c", script)
    pid = int(result.stdout)
    lock = LeaderLock(path)
    try:
        # If it closes the descriptor, it does so in a moment.
        assert lock.acquire(timeout=PATIENCE if free else 0) is free
    finally:
        os.kill(pid, signal.SIGKILL)
    if not free:
        assert lock.acquire(timeout=PATIENCE)
    lock.release()


def test_follow_is_refused_with_exec(path: Path) -> None:
    result = run("run", "--lock", str(path), "--exec", "--follow", "--", "true")
    assert result.returncode == 2
    assert "--exec leaves no parent" in result.stderr
