"""How a keeper shows: in status, in the doctor, in the health checks, and to a PID 1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from leaderlock.diagnosis.system import on_keeper
from leaderlock.health import checks
from leaderlock.status import status_of
from leaderlock.supervisor.leftovers import name_of
from tests.native.kept import CAN_HAVE_KEEPERS, NAME, end_of, keepers_of, keeping
from tests.native.sandbox import CALLS, ERRNO, install, with_result
from tests.native.test_elections import candidate, keeper_of
from tests.processes import flocks_of, forked, needs_root, until

pytestmark = pytest.mark.skipif(not CAN_HAVE_KEEPERS, reason="needs Linux on x86-64 or aarch64")


def leaderlock(*words: str) -> str:
    command = [sys.executable, "-m", "leaderlock", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_status_names_the_keeper(path: Path) -> None:
    with candidate(path) as leader:
        assert leader.line() == "1"
        keeper = keeper_of(leader)
        status = status_of(path)
        assert status.holder is not None
        assert (status.holder.pid, status.holder.keeper) == (leader.pid, keeper)
        assert [entry.pid for entry in status.waiting] == []
        assert f"{keeper}, which shares the leader's memory" in leaderlock("status", str(path))
        [lock] = json.loads(leaderlock("status", "--json", str(path)))["locks"]
        assert lock["holder"]["keeper"] == keeper
        assert leader.tell("candidate.stop(5)")
        assert status_of(path).holder is None


def test_the_doctor_says_whether_there_can_be_a_keeper_and_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "A leader has one here" in leaderlock("doctor", "--json", str(tmp_path))
    monkeypatch.setenv("LEADERLOCK_KEEPER", "0")
    [finding] = on_keeper()
    assert finding.text == "LEADERLOCK_KEEPER=0 turns keepers off."
    monkeypatch.delenv("LEADERLOCK_KEEPER")

    def under_a_filter() -> bool:
        install(with_result([CALLS["close_range"]], ERRNO | 1))
        [finding] = on_keeper()
        return finding.text.startswith("No keeper can be made here (close_range")

    assert forked(under_a_filter) == 0


def test_workers_do_not_count_a_keeper() -> None:
    leader, keeper = keeping()
    with leader:
        worker = leader.tell("subprocess.Popen(['sleep', '1000']).pid")
        assert sorted(child.pid for child in psutil.Process(leader.pid).children()) == sorted(
            [worker, keeper]
        )
        value = checks.workers(leader.pid)()
        assert isinstance(value, dict)
        assert [process["pid"] for process in value["processes"]] == [worker]


def test_ps_shows_its_name_and_the_leader_s_command_line_and_memory() -> None:
    leader, keeper = keeping()
    with leader:
        one, other = psutil.Process(leader.pid), psutil.Process(keeper)
        assert other.name() == NAME
        assert other.cmdline() == one.cmdline()
        assert other.memory_info().rss == pytest.approx(one.memory_info().rss, rel=0.2)


LEADS = """
import os, sys, time, leaderlock
def task(leadership):
    leadership.beat()
    print(os.getpid(), flush=True)
    leadership.stopping.wait()
leaderlock.Election(sys.argv[1]).run(task)
"""


@pytest.mark.parametrize("as_pid_1", [False, True], ids=["subreaper", "PID 1"])
def test_init_reaps_the_keeper_of_a_killed_command_and_does_not_name_it(
    path: Path, as_pid_1: bool
) -> None:
    if as_pid_1 and os.geteuid() != 0:
        pytest.skip(needs_root)
    contained = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if as_pid_1 else []
    init = [sys.executable, "-m", "leaderlock", "init", *([] if as_pid_1 else ["-s"]), "-v", "--"]
    command = [*contained, *init, sys.executable, "-c", LEADS, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        [(leader, _)] = flocks_of(path)
        [keeper] = until(lambda: keepers_of(leader))
        with end_of(keeper) as end:
            os.kill(leader, signal.SIGKILL)
            assert end.wait()
        said = run.communicate(timeout=60)[1]
        assert run.returncode == 137
        assert "behind" not in said


def test_the_supervisor_names_what_a_command_leaves_but_no_keeper() -> None:
    leader, keeper = keeping()
    with leader:
        assert name_of({keeper}) == ""
        assert name_of({keeper, leader.pid}).startswith(f"process {leader.pid} (")
