"""`leaderlock run` imports nothing, of the standard library either, once its wait has begun."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests import late_imports
from tests.pinged import pinged_server
from tests.processes import until_parked
from tests.supervisor.pid1 import Running

# The command itself, with the imports forbidden from the moment at which it says that it has them all.
PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("late_imports", sys.argv.pop(1))
late_imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(late_imports)
report = sys.argv.pop(1)
from leaderlock.supervisor import supervisor
has_them_all = supervisor.import_the_rest
def import_the_rest(settings):
    has_them_all(settings)
    late_imports.forbid(report)
supervisor.import_the_rest = import_the_rest
from leaderlock.cli import main
sys.exit(main(sys.argv[1:]))
"""


def running_beside(report: Path, *arguments: str) -> Running:
    words = [sys.executable, "-c", PROGRAM, late_imports.__file__, str(report), "run", *arguments]
    return Running(program=words, stdin=subprocess.PIPE)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--watchdog", "1000", "--sidecar", "cat", "--restart", "on-failure"],
        ["-w", "1000", "--follow", "--log-sidecar", "cat", "-v"],
        ["--ping", "URL", "--restart", "always"],
    ],
    ids=["plain", "watched", "followed", "pinging"],
)
def test_nothing_is_imported_once_the_wait_for_the_lock_has_begun(
    path: Path, tmp_path: Path, options: list[str]
) -> None:
    # It leaves a daemon behind, and from its fourth term on it ignores TERM: the stop needs KILL.
    script = (
        "setsid sleep 1000 >&- 2>&- & trap 'echo stopped; exit 7' TERM;"
        " [ $LEADERLOCK_TERM -lt 4 ] || trap '' TERM;"
        " echo term $LEADERLOCK_TERM; while :; do sleep 1000 & wait; done"
    )
    report = tmp_path / "report"
    lock = LeaderLock(path)
    lock.acquire()
    with pinged_server() as pinged:
        options = [option.replace("URL", f"{pinged.url}/ping") for option in options]
        command = ("--lock", str(path), "--stop", "TERM/1/KILL/5", *options, "--", "sh", "-c", script)
        with running_beside(report, *command) as running:
            until_parked(path, running.pid)
            lock.release()
            assert running.line() == "term 2"
            asked = [sys.executable, "-m", "leaderlock", "resign", "--wait", str(path)]
            subprocess.run(asked, check=True, stdout=subprocess.DEVNULL)
            assert running.lines(2) == ["stopped", "term 3"]
            path.unlink()
            assert running.lines(2) == ["stopped", "term 4"]
            running.signal(signal.SIGWINCH)
            running.signal(signal.SIGTERM)
            assert running.wait() == 128 + signal.SIGKILL
            assert "sending SIGKILL" in running.said()
        assert bool(pinged.paths) == ("--ping" in options)
    assert late_imports.late(str(report)) == []


@pytest.mark.parametrize("exec_too", [False, True], ids=["run", "exec"])
def test_a_wait_that_ends_by_its_limit_or_a_signal_imports_nothing(
    path: Path, tmp_path: Path, exec_too: bool
) -> None:
    options = ["--exec"] if exec_too else []
    report = tmp_path / "report"
    with LeaderLock(path):
        command = ("--lock", str(path), *options, "-w", "0.1", "-E", "9", "--", "true")
        with running_beside(report, *command) as running:
            assert running.wait() == 9
        with running_beside(report, "--lock", str(path), *options, "--", "true") as running:
            until_parked(path, running.pid)
            running.signal(signal.SIGTERM)
            assert running.wait() == 128 + signal.SIGTERM
    assert late_imports.late(str(report)) == []


def test_an_import_that_comes_too_late_is_noticed(path: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    program = PROGRAM.replace("    has_them_all(settings)\n", "")
    words = [sys.executable, "-c", program, late_imports.__file__, str(report)]
    with Running("run", "--lock", str(path), "--", "true", program=words) as running:
        assert running.wait() == 0
    assert any(line.startswith("leaderlock.") for line in late_imports.late(str(report)))
