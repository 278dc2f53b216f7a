"""What the command inherits: dispositions, environment, the way a script runs; and what reaches us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.processes import PATIENCE
from tests.supervisor.pid1 import LEADERLOCK, Running, needs_namespaces, run

EITHER = pytest.mark.parametrize("options", [["run"], ["run", "--lock", "{}/lock"], ["init", "-s"]])
# 32 and 33 are glibc's own, which its posix_spawn(3) leaves ignored until a program needs them.
GLIBCS = 1 << 31 | 1 << 32


def mask_of(*numbers: int) -> int:
    return sum(1 << number - 1 for number in numbers)


@EITHER
def test_ttin_and_ttou_that_were_ignored_at_the_start_stay_so(
    tmp_path: Path, options: list[str]
) -> None:
    words = [option.format(tmp_path) for option in options]
    command = " ".join([*LEADERLOCK, *words, "--", "grep", "SigIgn", "/proc/self/status"])
    for trap, kept in (("trap '' TTIN TTOU HUP;", (21, 22, 1)), ("", ())):
        result = run("-c", f"{trap} {command}", program=["sh"])
        assert int(result.stdout.split()[1], 16) & ~GLIBCS == mask_of(*kept), result.stderr


@EITHER
@pytest.mark.parametrize("by_path", [True, False], ids=["by path", "by name"])
def test_a_script_without_an_interpreters_line_is_run_by_sh(
    tmp_path: Path, options: list[str], by_path: bool
) -> None:
    script = tmp_path / "plain-script"
    script.write_text("echo script $0 $1; exit 4\n")
    script.chmod(0o755)
    words = [option.format(tmp_path) for option in options]
    result = run(
        *words, "--", str(script) if by_path else script.name, "one",
        environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (4, f"script {script} one\n"), result.stderr


@EITHER
@pytest.mark.parametrize("given", [None, "C.UTF-8"])
def test_lc_ctype_is_there_if_it_was_and_only_then(
    tmp_path: Path, options: list[str], given: str | None
) -> None:
    words = [option.format(tmp_path) for option in options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
    environment = {**environment, "LANG": "C", **({"LC_CTYPE": given} if given else {})}
    result = subprocess.run(
        [*LEADERLOCK, *words, "--", "env"],
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    found = [line for line in result.stdout.splitlines() if line.startswith("LC_")]
    assert found == ([f"LC_CTYPE={given}"] if given else [])


@EITHER
def test_pythonpath_reaches_the_command_and_nothing_there_is_taken_for_pythons_own(
    tmp_path: Path, options: list[str]
) -> None:
    for name in ("select", "heapq", "socket", "math", "fcntl", "array", "ctypes", "struct", "errno"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was imported')\n")
    words = [option.format(tmp_path) for option in options]
    result = run(
        *words, "--", "sh", "-c", "echo $PYTHONPATH",
        environment={"PYTHONPATH": str(tmp_path), "NOTIFY_SOCKET": "@nobody"},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (0, f"{tmp_path}\n"), result.stderr


def test_the_isolated_form_takes_no_package_of_pythonpath_for_leaderlock(tmp_path: Path) -> None:
    package = tmp_path / "leaderlock"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('a stranger was imported')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = ["init", "-s", "--", "sh", "-c", "echo $PYTHONPATH"]
    script = [str(Path(sysconfig.get_path("scripts")) / "leaderlock"), *words]
    found = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (found.returncode, found.stderr) == (1, "a stranger was imported\n")
    isolated = [sys.executable, "-I", "-m", "leaderlock", *words]
    found = subprocess.run(isolated, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (found.returncode, found.stdout) == (0, f"{tmp_path}\n"), found.stderr


@needs_namespaces
@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_a_term_that_comes_while_pid_1_still_imports_is_not_lost(
    tmp_path: Path, subcommand: str
) -> None:
    """The first module that is imported after the handlers sends it."""
    slow = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    code = (
        f"import sys; sys.argv[1:1] = ['{subcommand}'];from leaderlock import cli; {slow}; cli.entry()"
    )
    command = ["--", "sh", "-c", "trap 'exit 6' TERM; echo up; sleep 1000 & wait"]
    with Running(*command, program=[sys.executable, "-c", code], as_pid1=True) as running:
        assert running.wait() in (6, 128 + signal.SIGTERM)


def test_init_under_a_subreaper_does_not_warn_of_orphans() -> None:
    become = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    for program, warns in (([sys.executable, "-c", become], False), ([], True)):
        result = run("init", "--", "true", program=[*program, *LEADERLOCK])
        assert result.returncode == 0
        assert ("not PID 1" in result.stderr) is warns
