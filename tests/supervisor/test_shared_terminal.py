"""A terminal that leaderlock shares with others of its process group: pipelines, and scripts."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import until
from tests.supervisor.pid1 import LEADERLOCK
from tests.supervisor.test_terminal import CTRL_C, NUMBERS, RUN, Terminal, terminal

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def bash() -> Iterator[Terminal]:
    with terminal(["bash", "--norc", "--noprofile", "--noediting", "-i"]) as shown:
        shown.type("set -b\n")
        yield shown


@pytest.mark.parametrize("command", [RUN, " ".join([*LEADERLOCK, "init", "-s"])], ids=["run", "init"])
def test_in_a_pipeline_the_other_programs_can_read_the_terminal(bash: Terminal, command: str) -> None:
    reads = "sh -c 'cat; read x </dev/tty; echo typed:$x'"
    bash.type(f"{command} -- sh -c 'echo piped-$((1 + 1)); sleep 0.3' | {reads}\n")
    assert "Stopped" not in bash.until("piped-2")
    bash.type("one\n")
    assert "Stopped" not in bash.until("typed:one")
    bash.type("echo status-$?-\n")
    bash.until("status-0-")


def test_at_the_end_of_a_pipeline_it_can_read_the_terminal(bash: Terminal) -> None:
    bash.type(f"echo x | {RUN} -- sh -c 'cat; read y </dev/tty; echo typed:$y'\n")
    bash.type("one\n")
    assert "Stopped" not in bash.until("typed:one")


def test_in_a_script_the_command_and_the_script_can_read_the_terminal(
    bash: Terminal, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text(f"{RUN} -- sh -c 'read x; echo command:$x'\nread y\necho script:$y\n")
    bash.type(f"sh {script}\n")
    bash.type("one\n")
    bash.until("command:one")
    bash.type("two\n")
    bash.until("script:two")


def test_ctrl_c_reaches_the_command_of_a_script_once_and_ends_the_script(
    bash: Terminal, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    # exec: dash blocks signals while it starts a program, and a Ctrl-C at that moment ends neither.
    script.write_text(
        f"{RUN} --lock {tmp_path}/lock -- sh -c 'echo up-$((1 + 1)); exec sleep 1000'\necho went on\n"
    )
    bash.type(f"bash {script}; echo status-$?-\n")
    bash.until("up-2")
    bash.type(CTRL_C)
    bash.type("echo shell-$((1 + 1))\n")
    assert "went on" not in bash.until("shell-2")


def test_ctrl_c_reaches_a_command_in_a_pipeline_once(bash: Terminal) -> None:
    bash.type(f"{RUN} -- {NUMBERS} 3 3 | sh -c 'trap \"\" INT QUIT; cat'\n")
    bash.until("up ")
    bash.until("\r\n")
    bash.type(CTRL_C)
    bash.until("2\r\n")
    bash.type("\x1c")
    assert "2" not in bash.until("3\r\n")


def test_what_a_command_in_a_pipeline_leaves_behind_is_stopped_and_nobody_else(
    bash: Terminal, tmp_path: Path
) -> None:
    left = tmp_path / "left"
    bash.type(
        f"{RUN} -- sh -c 'sleep 1000 & echo $! >{left}; exit 3' | sh -c 'cat; read x </dev/tty'\n"
    )
    until(lambda: left.exists() and left.read_text().endswith("\n"), "its number")
    until(lambda: not Path(f"/proc/{left.read_text().strip()}").exists(), "the leftover to end")
    bash.type("\n")
    bash.type("echo ${PIPESTATUS[*]}-\n")
    bash.until("3 0-")


def test_a_stop_by_kill_in_a_pipeline_kills_the_commands_processes_alone(
    bash: Terminal, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    script = f'trap "" TERM; echo $PPID >{pid}; echo up-$((1 + 1)); while :; do sleep 0.1; done'
    command = f"{RUN} --stop TERM/0.2/KILL/5 -- sh -c '{script}'"
    bash.type(f"{command} | cat; echo ${{PIPESTATUS[*]}}-\n")
    bash.until("up-2")
    os.kill(int(pid.read_text()), signal.SIGTERM)
    bash.until("137 0-")
