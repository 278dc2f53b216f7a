"""Orphans: taken in at once, by PID 1 and by a subreaper; and what none of them ever holds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import PATIENCE, until, until_parked
from tests.supervisor.pid1 import (
    LEADERLOCK,
    Running,
    children_of,
    needs_namespaces,
    run,
    state_of,
    until_ended,
    zombies_of,
)

# Each child of the command's forks once more and ends; its own child, an orphan, ends as well.
MANY_ORPHANS = """\
import os, sys
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.fork()
        os._exit(7)
    os.waitpid(child, 0)
print('done', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("options", "as_pid1", "orphans"),
    [
        pytest.param(["run"], True, 10_000, marks=needs_namespaces, id="run as PID 1"),
        pytest.param(["init"], True, 1_000, marks=needs_namespaces, id="init as PID 1"),
        pytest.param(["run", "-s"], False, 1_000, id="run -s"),
        pytest.param(["init", "-s"], False, 10_000, id="init -s"),
    ],
)
def test_thousands_of_orphans_leave_no_zombie(options: list[str], as_pid1: bool, orphans: int) -> None:
    command = [sys.executable, "-S", "-c", MANY_ORPHANS, str(orphans)]
    with Running(*options, "--", *command, as_pid1=as_pid1, stdin=subprocess.PIPE) as running:
        assert running.line(5 * PATIENCE) == "done"
        until(lambda: len(children_of(running.pid)) == 1, "all orphans to be taken in")
        assert zombies_of(running.pid) == []
        running.close_input()
        assert running.wait() == 0


def test_without_s_orphans_go_elsewhere() -> None:
    script = "(sleep 1000 & echo $!); read x"
    with Running("run", "--", "sh", "-c", script, stdin=subprocess.PIPE) as running:
        orphan = int(running.line())
        try:
            assert orphan not in children_of(running.process.pid)
        finally:
            os.kill(orphan, signal.SIGKILL)


@pytest.mark.parametrize("status", [0, 3])
def test_an_orphan_never_gives_its_status_in_place_of_the_commands(status: int) -> None:
    script = f"(sh -c 'exit 9' &) ; (sh -c 'kill -9 $$' &) ; read x; exit {status}"
    with Running("run", "-s", "-vv", "--", "sh", "-c", script, stdin=subprocess.PIPE) as running:
        running.until_said("ended with status 9")
        running.until_said("ended with status 137")
        running.close_input()
        assert running.wait() == status


@needs_namespaces
def test_orphans_are_taken_in_while_the_lock_is_still_waited_for(path: Path) -> None:
    """PID 1 may inherit children from before the exec, and from whoever enters the namespace."""
    before = f"(sleep 0.01 &) ; exec {' '.join(LEADERLOCK)} run --lock {path} -- echo led"
    lock = LeaderLock(path)
    lock.acquire()
    with Running("-c", before, program=["sh"], as_pid1=True) as running:
        until_parked(path, running.pid)
        subprocess.run(
            ["nsenter", f"--target={running.pid}", "--pid", "sh", "-c", "(sleep 0.01 &); true"],
            check=True,
            timeout=PATIENCE,
        )
        until(lambda: not children_of(running.pid), "the orphans to be taken in")
        lock.release()
        assert running.line() == "led"
        assert running.wait() == 0


@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_p_has_the_kernel_send_a_signal_when_the_parent_ends(subcommand: str) -> None:
    command = " ".join([*LEADERLOCK, subcommand, "-p", "USR1", "--"])
    caught = "trap 'echo caught; exit 0' USR1; echo up; sleep 1000 & wait"
    parent = f'{command} sh -c "{caught}" & echo $!; wait'
    with Running("-c", parent, program=["sh"]) as running:
        up, leaderlock = sorted(running.lines(2), reverse=True)  # in either order
        assert up == "up"
        running.process.kill()
        assert running.line() == "caught"
        until_ended(int(leaderlock))


def links_of(pid: int) -> list[str]:
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


@pytest.mark.parametrize(
    "as_pid1", [pytest.param(True, marks=needs_namespaces), False], ids=["PID 1", "child"]
)
def test_neither_command_nor_orphan_nor_sidecar_holds_the_lock(path: Path, as_pid1: bool) -> None:
    script = "(sleep 1000 &) ; (setsid sleep 1000 &) ; echo up; exec sleep 1000"
    options = ["-s", "--lock", str(path), "--sidecar", "sleep 1000", "--watchdog", "1000"]
    with Running("run", *options, "--", "sh", "-c", script, as_pid1=as_pid1) as running:
        assert running.line() == "up"
        assert str(path) in links_of(running.pid)
        until(lambda: len(children_of(running.pid)) == 4, "sidecar, command and two orphans")
        for pid in children_of(running.pid):
            assert str(path) not in links_of(pid)
            assert not [link for link in links_of(pid)[3:] if link.startswith(("pipe:", "socket:"))]
        # So none of them keeps it once leaderlock is gone, whatever they do.
        others = children_of(running.pid)
        os.kill(running.pid, signal.SIGKILL)
        lock = LeaderLock(path)
        assert lock.acquire(timeout=PATIENCE)
        lock.release()
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_command_that_stops_is_not_taken_for_one_that_has_ended() -> None:
    with Running("run", "--", "sh", "-c", "echo $$; kill -STOP $$; echo on; exit 5") as running:
        pid = int(running.line())
        until(lambda: state_of(pid) == "T", "it to stop")
        assert running.process.poll() is None
        os.kill(pid, signal.SIGCONT)
        assert running.line() == "on"
        assert running.wait() == 5


def test_where_no_process_is_to_be_had_it_says_so_and_gives_125_or_126() -> None:
    """RLIMIT_NPROC counts for everybody but root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user of its own")
    uid = 60_000 + os.getpid() % 5_000
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    # It may read everything, since Python may live in a directory that is closed to it.
    able = ["--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "prlimit"]
    result = run("--nproc=1", *LEADERLOCK, "run", "--", "true", program=[*as_user, *able])
    assert result.returncode in (125, 126)
    assert "Resource temporarily unavailable" in result.stderr
    assert "Traceback" not in result.stderr
