"""`leaderlock run` when the lock's file is deleted or replaced: no two go on with the command."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.processes import flocks_of, holder, until, until_parked
from tests.supervisor.pid1 import Running

SAYS_ITS_END = "trap 'echo stopped; exit 7' TERM; echo term $LEADERLOCK_TERM; sleep 1000 & wait"


def test_the_command_is_stopped_and_started_again_under_the_new_file(path: Path) -> None:
    with Running("run", "--lock", str(path), "--", "sh", "-c", SAYS_ITS_END) as running:
        assert running.line() == "term 1"
        path.unlink()
        assert running.lines(2) == ["stopped", "term 2"]
        assert flocks_of(path) == [(running.pid, False)]
        running.signal(signal.SIGTERM)
        assert running.wait() == 7
        assert f"{path} was deleted or replaced" in running.said()


def test_a_command_that_failed_is_not_started_again_by_a_file_that_was_replaced(path: Path) -> None:
    command = ["sh", "-c", "echo term $LEADERLOCK_TERM; exit 1"]
    with Running("run", "--lock", str(path), "--restart", "always", "--", *command) as running:
        assert running.line() == "term 1"
        until(lambda: "starts it again in" in running.said(), "the pause to begin")
        path.unlink()
        assert running.line() == "term 2"
        assert flocks_of(path) == [(running.pid, False)]


def test_it_stands_by_where_another_one_leads_by_the_new_file(path: Path) -> None:
    with Running("run", "--lock", str(path), "--", "sh", "-c", SAYS_ITS_END) as running:
        assert running.line() == "term 1"
        new = path.with_name("new")
        with holder(new) as other:
            new.rename(path)
            assert running.line() == "stopped"
            until_parked(path, running.pid)
            other.kill()
            assert running.line() == "term 2"


def test_standbys_go_on_to_the_new_file(path: Path) -> None:
    command = ["run", "--lock", str(path), "--", "sh", "-c", SAYS_ITS_END]
    path.touch()
    with Running(*command) as running, Running(*command) as standby:
        until(lambda: len(flocks_of(path)) == 2)
        leads = next(pid for pid, waits in flocks_of(path) if not waits)
        first = running if running.pid == leads else standby
        assert first.line() == "term 1"
        path.unlink()
        assert first.line() == "stopped"
        # Whoever of the two makes the new file leads.
        until(lambda: path.exists() and len(flocks_of(path)) == 2, "both to stand on the new file")
        assert [waits for _, waits in flocks_of(path)] == [False, True]


@pytest.mark.parametrize("restart", ["never", "always"])
def test_a_stop_while_it_is_stopped_for_that_is_final(path: Path, restart: str) -> None:
    script = "trap 'echo stopping; read _; exit 7' TERM; echo up; sleep 1000 & wait"
    options = ["--lock", str(path), "--restart", restart, "--stop", "TERM/1000/KILL"]
    with Running("run", *options, "--", "sh", "-c", script, stdin=subprocess.PIPE) as running:
        assert running.line() == "up"
        path.unlink()
        assert running.line() == "stopping"
        running.signal(signal.SIGTERM)
        running.close_input()
        assert running.wait() == 7
