"""A package that is removed while `leaderlock run` waits, or runs: what it needs later is imported."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaderLock
from tests.processes import settled, until_parked
from tests.supervisor.pid1 import Running, until_ended

PACKAGE = Path(leaderlock.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory with a copy of the package, to be removed by the test."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "leaderlock", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def remove(site: Path) -> None:
    """As an upgrade does: first it goes from its place, then it is deleted."""
    gone = site.with_name("gone")
    site.rename(gone)
    shutil.rmtree(gone)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--watchdog", "1000", "--sidecar", "cat", "--restart", "on-failure"],
        ["-w", "1000", "--follow", "--log-sidecar", "cat", "-v"],
    ],
    ids=["plain", "watched", "followed"],
)
def test_a_standby_whose_package_is_removed_leads_all_the_same(
    path: Path, site: Path, options: list[str]
) -> None:
    # It leaves a daemon behind, and ignores TERM: the stop needs KILL, and leftovers.
    script = (
        f"echo package $(ls {site} 2>/dev/null | wc -l); setsid sleep 1000 >&- 2>&- & echo $!;"
        " trap '' TERM;"
        " echo up; while read x; do :; done; exec sleep 1000"
    )
    lock = LeaderLock(path)
    lock.acquire()
    with Running(
        *("run", "--lock", str(path), "--stop", "TERM/0.2/KILL/5", *options, "--", "sh", "-c", script),
        environment={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
    ) as running:
        until_parked(path, running.pid)
        assert str(site) in "".join(loaded_from(running.pid, site))
        remove(site)
        lock.release()
        assert running.line() == "package 0"
        daemon = int(running.line())
        assert running.line() == "up"
        running.signal(signal.SIGWINCH)
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGKILL
        until_ended(daemon)
        said = running.said()
    assert "Error" not in said
    assert "bug" not in said
    assert "sending SIGKILL" in said


def loaded_from(pid: int, site: Path) -> list[str]:
    """That the copy is what runs there."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return [os.fsdecode(one) for one in environment if one.startswith(b"PYTHONPATH=")]


def test_the_lost_lock_is_noticed_though_the_package_is_removed(path: Path, site: Path) -> None:
    script = "trap 'echo stopped; exit 7' TERM; echo term $LEADERLOCK_TERM; sleep 1000 & wait"
    with Running(
        *("run", "--lock", str(path), "--", "sh", "-c", script),
        environment={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    ) as running:
        assert running.line() == "term 1"
        remove(site)
        path.unlink()
        assert running.lines(2) == ["stopped", "term 2"]
        running.signal(signal.SIGTERM)
        assert running.wait() == 7
        assert "Error" not in running.said()


def test_init_ends_as_it_should_though_the_package_is_removed(site: Path) -> None:
    with Running(
        *("init", "-s", "-vv", "--", "sh", "-c", "(true &); echo up; read x; exit 5"),
        environment={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
    ) as running:
        assert running.line() == "up"
        settled(running.pid)  # it goes on importing while the command already starts
        remove(site)
        running.signal(signal.SIGWINCH)
        running.close_input()
        assert running.wait() == 5
        assert "Error" not in running.said()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_standby_whose_package_is_removed_ends_by_a_signal(
    path: Path, site: Path, number: signal.Signals
) -> None:
    with (
        LeaderLock(path),
        Running(
            *("run", "--lock", str(path), "--", "echo", "never"),
            environment={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
        ) as running,
    ):
        until_parked(path, running.pid)
        remove(site)
        running.signal(number)
        assert running.wait() == 128 + number
        assert (running.rest(), running.said()) == ([], "")


def test_with_exec_a_standby_whose_package_is_removed_becomes_the_command(
    path: Path, site: Path
) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    with Running(
        *("run", "--lock", str(path), "--exec", "--", "sh", "-c", "echo term $LEADERLOCK_TERM; exit 4"),
        environment={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    ) as running:
        until_parked(path, running.pid)
        remove(site)
        lock.release()
        assert running.line() == "term 2"
        assert running.wait() == 4
