"""`leaderlock run --lock URL` as PID 1 of a PID namespace: it leads there, and dies at its deadline."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.network import Network
from tests.fleet.servers import PostgreSQL, Redis, family
from tests.processes import PATIENCE, until
from tests.supervisor.pid1 import CATCHER, IN_NAMESPACE, LEADERLOCK, Running, children_of
from tests.supervisor.test_terminal import (
    ANSWERING,
    AS_PID1,
    CTRL_BACKSLASH,
    CTRL_C,
    stop_by_ctrl_z_and_continue,
    terminal,
)

LEASE = "3"

# Beside the command, a process of a session of its own, which has no parent-death signal.
COMMAND = "setsid sleep 1000 & echo term $LEADERLOCK_TERM; exec sleep 1000"


@pytest.mark.slow
def test_cut_off_it_is_dead_with_its_command_before_another_one_leads(
    postgresql: PostgreSQL, network: Network, tmp_path: Path
) -> None:
    words = [*LEADERLOCK, "run", "--lock", postgresql.url("pid1"), "--lease", LEASE, "--"]
    for host in ("pid1-cut", "pid1-next"):
        network.add(host)
    with open(tmp_path / "errors", "w+") as errors:
        first = network.start(
            "pid1-cut",
            [*IN_NAMESPACE, *words, "sh", "-c", COMMAND],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert first.stdout is not None
        term = int(first.stdout.readline().removeprefix("term "))
        until(lambda: len(list(family(first.pid))) == 5, "both processes of the command to run")
        started = list(family(first.pid))[1:]  # without unshare(1)
        # PID 1 ends the rest when it runs, which a busy machine may delay.
        _, supervisor, leader, _ = started
        read = "cut -d' ' -f3 /proc/{}/stat 2>/dev/null".format
        states = f"{read(supervisor)}; {read(leader)}"
        then = network.start(
            "pid1-next",
            [*words, "sh", "-c", f"echo $LEADERLOCK_TERM $({states})"],
            stdout=subprocess.PIPE,
            text=True,
        )
        network.cut("pid1-cut")
        said, _ = then.communicate(timeout=PATIENCE)
        assert first.wait(PATIENCE) == 128 + signal.SIGKILL
        assert not any(Path(f"/proc/{pid}").exists() for pid in started)
        first.stdout.close()
        errors.seek(0)
        assert "process 2 ends in" in errors.read()
    later, *alive = said.split()
    assert int(later) > term
    assert set(alive) <= {"Z", "X"}, "the command of the cut-off leader ran on"


@pytest.fixture
def words(local_redis: Redis, request: pytest.FixtureRequest) -> list[str]:
    url = local_redis.url(f"pid1-{abs(hash(request.node.name)) % 10**8}")
    return ["run", "--lock", url, "--lease", LEASE, "--"]


def test_it_ends_with_the_status_of_the_command(words: list[str]) -> None:
    for script, status in (("exit 7", 7), ("kill -ABRT $$", 128 + signal.SIGABRT)):
        with Running(*words, "sh", "-c", script, as_pid1=True) as running:
            assert running.wait() == status, running.said()


def test_signals_reach_the_command_once_and_orphans_are_reaped(words: list[str]) -> None:
    with Running(*words, *CATCHER, "3", "3", as_pid1=True) as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGUSR1)
        assert running.line() == str(int(signal.SIGUSR1))
        # As `docker exec` would: a process whose parent is outside, and whose orphan is PID 1's.
        inside = ["nsenter", "--target", str(running.pid), "--pid", "--mount"]
        subprocess.run([*inside, "sh", "-c", "sleep 0.01 & exit"], check=True, timeout=PATIENCE)
        until(lambda: len(children_of(running.pid)) == 1, "the orphan to be reaped")
        running.signal(signal.SIGQUIT)
        assert running.line() == str(int(signal.SIGQUIT))
        assert running.wait() == 3


@pytest.mark.slow
def test_a_term_while_it_waits_ends_the_wait(words: list[str]) -> None:
    with (
        Running(*words, "sh", "-c", "echo up; exec sleep 1000") as leader,
        Running(*words, "true", as_pid1=True) as standby,
    ):
        assert leader.line() == "up"
        until(lambda: len(children_of(standby.pid)) == 1, "PID 1 to fork")
        standby.signal(signal.SIGTERM)
        assert standby.wait() == 128 + signal.SIGTERM, standby.said()


@pytest.mark.slow
def test_in_an_interactive_container_a_terminal_signals_the_command_once(words: list[str]) -> None:
    with terminal([*AS_PID1, *words, *CATCHER, "3", "3"]) as shown:
        shown.until("up ")
        shown.until("\r\n")  # behind the process ID
        shown.type(CTRL_C)
        shown.until("2\r\n")
        shown.type(CTRL_BACKSLASH)
        assert "2" not in shown.until("3\r\n")
        assert shown.wait() == 3


@pytest.mark.slow
def test_in_an_interactive_container_ctrl_z_stops_the_command_alone(words: list[str]) -> None:
    with terminal([*AS_PID1, *words, "sh", "-c", ANSWERING]) as shown:
        stop_by_ctrl_z_and_continue(shown, below_pid1=True)


def test_a_program_of_ones_own_as_pid_1_is_told_to_run_below_an_init(local_redis: Redis) -> None:
    program = f"import leaderlock; leaderlock.Election({local_redis.url('own')!r}).run(print)"
    run = subprocess.run(
        [*IN_NAMESPACE, sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].endswith("such as `leaderlock init -- COMMAND`")
