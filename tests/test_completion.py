"""`leaderlock completion`: real shells are asked what they would offer."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.cli.command import NAMES, all_commands
from tests.processes import until
from tests.test_run import run

SHELLS = ["bash", "zsh", "fish"]

# In place of the real `complete`, the function is called by readline as ever, and tells what it gave.
BASH = """\
. "$SCRIPT"
tell() { _leaderlock "$@"; printf '%s\\n' "${COMPREPLY[@]}" end >> "$TOLD"; }
complete -F tell leaderlock
"""

# What is added to the matches is asked for with -A first, which adds nothing.
ZSH = """\
autoload -Uz compinit; compinit -u -d "$HOME/dump"
. "$SCRIPT"
compadd() {
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\\ * ]]; then
        local -a hits; builtin compadd -A hits "$@"; print -rl -- $hits >> "$TOLD"
    fi
    builtin compadd "$@"
}
tell() { zle complete-word; print end >> "$TOLD"; }
zle -N tell; bindkey '^I' tell
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the `leaderlock` of this interpreter, and a directory of locks."""
    for name in ("bin", "home", "locks", "work"):
        (tmp_path / name).mkdir(mode=0o700)
    program = tmp_path / "bin" / "leaderlock"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leaderlock "$@"\n')
    program.chmod(0o755)
    (tmp_path / "work" / "here.lock").touch()
    (tmp_path / "work" / "a dir").mkdir()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
        "HOME": str(home / "home"),
        "LEADERLOCK_DIR": str(home / "locks"),
        "TERM": "dumb",
        "SCRIPT": str(home / "script"),
        "TOLD": str(home / "told"),
        "PS1": "",
        "HISTFILE": "",
        "LC_ALL": "C.UTF-8",
    }


def candidates(shell: str, line: str, home: Path, before: str = "") -> set[str]:
    """What the shell would offer at the end of this line."""
    script = run("completion", shell)
    assert (script.returncode, script.stderr) == (0, "")
    (home / "script").write_text(script.stdout)
    if shell == "fish":
        return asked_of_fish(line, home)
    start = home / "start"
    start.write_text(before + (BASH if shell == "bash" else ZSH))
    quiet = ["--norc", "--noprofile", "-i"] if shell == "bash" else ["-f", "-i"]
    with on_a_terminal([shell, *quiet], home) as (terminal, output):
        os.write(terminal, f". {start}; echo rea''dy\n".encode())
        until(lambda: b"ready" in output(), "the shell to be ready")
        os.write(terminal, line.encode() + b"\t")
        told = home / "told"
        until(lambda: told.exists() and "\nend\n" in f"\n{told.read_text()}", "candidates")
    return set(told.read_text().split("\nend\n")[0].removesuffix("end\n").splitlines()) - {"", "end"}


def asked_of_fish(line: str, home: Path) -> set[str]:
    answer = subprocess.run(
        ["fish", "-c", 'source $SCRIPT; complete "-C$argv[1]"', line],
        env=environment(home),
        cwd=home / "work",
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert answer.stderr == ""
    last = line.rpartition(" ")[2]
    # fish repeats what stands before the "=".
    begun = last[: last.index("=") + 1] if "=" in last else ""
    return {row.split("\t")[0].removeprefix(begun) for row in answer.stdout.splitlines()}


@contextlib.contextmanager
def on_a_terminal(words: list[str], home: Path) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """A program on a terminal of its own; what it has written so far can be asked for."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        words,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(home),
        cwd=home / "work",
        start_new_session=True,
    )
    os.close(theirs)
    seen = bytearray()

    def output() -> bytes:
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(ours, 65536):
                seen.extend(piece)
        return bytes(seen)

    try:
        yield ours, output
    finally:
        process.kill()
        process.wait()
        os.close(ours)


in_every_shell = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(
            shell,
            marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed"),
        )
        for shell in SHELLS
    ],
)


@in_every_shell
def test_the_commands_are_offered(shell: str, home: Path) -> None:
    assert candidates(shell, "leaderlock ", home) >= set(NAMES)


@in_every_shell
def test_the_options_of_a_command_are_offered_and_no_others(shell: str, home: Path) -> None:
    offered = candidates(shell, "leaderlock history --", home)
    assert offered == {"--help", "--name", "--last", "--json", "--plot"}


@in_every_shell
def test_every_option_of_every_command_is_in_the_script(shell: str) -> None:
    script = run("completion", shell).stdout
    for command in all_commands():
        for flag in (flag for option in command.options for flag in option.flags):
            wanted = {"fish": f"-l {flag[2:]} "}.get(shell, flag)
            if flag.startswith("--"):
                assert wanted in script, f"{command.name} {flag}"


@in_every_shell
@pytest.mark.parametrize("line", ["leaderlock run --restart ", "leaderlock run -n --restart="])
def test_the_words_that_an_option_takes_are_offered(shell: str, line: str, home: Path) -> None:
    assert candidates(shell, line, home) == {"never", "on-failure", "always"}


@in_every_shell
def test_the_paths_of_locks_and_files_are_offered(shell: str, home: Path) -> None:
    lock = LeaderLock(home / "locks" / "beat.lock")
    with lock:
        offered = candidates(shell, f"leaderlock status {home}/locks/", home)
        assert any(word.endswith("beat.lock") for word in offered)


@in_every_shell
def test_a_lock_is_offered_wherever_it_lies(shell: str, home: Path) -> None:
    with LeaderLock(home / "locks" / "beat.lock"):
        assert str(home / "locks" / "beat.lock") in candidates(shell, "leaderlock history /", home)


@in_every_shell
def test_a_file_of_the_working_directory_is_offered(shell: str, home: Path) -> None:
    assert "here.lock" in candidates(shell, "leaderlock run --lock he", home)


@in_every_shell
@pytest.mark.parametrize("line", ["leaderlock status ", "leaderlock run --lock "])
def test_the_schemes_of_engines_are_offered(shell: str, line: str, home: Path) -> None:
    schemes = {"postgresql://", "zookeeper://", "etcd://", "etcds://", "redis://", "rediss://"}
    assert candidates(shell, line, home) >= schemes
    (home / "told").unlink(missing_ok=True)
    assert candidates(shell, f"{line}red", home) == {"redis://", "rediss://"}


@in_every_shell
def test_a_scheme_is_completed_without_a_space_and_its_colon_is_no_end(shell: str, home: Path) -> None:
    if shell == "fish":  # adds no space behind a slash
        assert candidates(shell, "leaderlock status redis:", home) >= {"redis://"}
        return
    assert typed(shell, "leaderlock run --lock rediss", home, "host/0") == "--lock rediss://host/0"
    (home / "told").unlink()
    assert typed(shell, "leaderlock status etcd:", home, "host/x") == "etcd://host/x"


@in_every_shell
def test_after_a_url_the_options_for_it_are_offered(shell: str, home: Path) -> None:
    line = "leaderlock run --lock redis://host:6379/0#x --"
    assert candidates(shell, line, home) >= {"--lease", "--within", "--wait"}
    (home / "told").unlink(missing_ok=True)
    assert "here.lock" in candidates(shell, f"{line}within he", home)
    (home / "told").unlink(missing_ok=True)
    assert "leaderlock" in candidates(shell, f"{line} leaderl", home)


@in_every_shell
def test_the_names_of_locks_are_offered(shell: str, home: Path) -> None:
    for name in ("beat", "backup"):
        with LeaderLock(home / "locks" / f"{name}.lock"):
            pass
    assert candidates(shell, "leaderlock run --name ", home) >= {"beat", "backup"}


@in_every_shell
@pytest.mark.parametrize(
    "before", ["--", "", "-n -w 5", "-nE 0 --", "--lock=/x --"], ids=lambda text: text or "none"
)
def test_the_command_to_run_is_offered(shell: str, before: str, home: Path) -> None:
    assert "leaderlock" in candidates(shell, f"leaderlock run {before} leaderl", home)


@in_every_shell
def test_the_options_of_the_command_that_is_run_are_not_ours(shell: str, home: Path) -> None:
    assert "--stop" not in candidates(shell, "leaderlock run -n sleep --s", home)
    (home / "told").unlink(missing_ok=True)
    assert "--stop" in candidates(shell, "leaderlock run -n --s", home)


@in_every_shell
def test_what_a_shell_would_take_for_something_else_is_quoted(shell: str, home: Path) -> None:
    (home / "locks" / "quoted-here b$(reboot).lock").touch(mode=0o600)
    line = "leaderlock run --name quoted-h"
    if shell == "fish":  # tells the words, and quotes one when it is chosen
        assert candidates(shell, line, home) == {"quoted-here b$(reboot)"}
        return
    assert typed(shell, line, home) == r"--name quoted-here\ b\$\(reboot\)"


def typed(shell: str, line: str, home: Path, more: str = "") -> str:
    """What stands on the line after a Tab and `more`, as the shell takes the words apart."""
    (home / "script").write_text(run("completion", shell).stdout)
    start = home / "start"
    tells = r"""leaderlock() { if [ "$1" = completion ]; then command leaderlock "$@"; else
        printf '%q ' "${@:2}" > "$TOLD"; echo to''ld; fi; }
"""
    load = "autoload -Uz compinit; compinit -u -d $HOME/dump\n" if shell == "zsh" else ""
    start.write_text(f"{load}. $SCRIPT\n{tells}")
    quiet = ["--norc", "--noprofile", "-i"] if shell == "bash" else ["-f", "-i"]
    with on_a_terminal([shell, *quiet], home) as (terminal, output):
        os.write(terminal, f". {start}; echo rea''dy\n".encode())
        until(lambda: b"ready" in output(), "the shell to be ready")
        os.write(terminal, f"{line}\t{more}\n".encode())
        until(lambda: b"told" in output(), "the line to be taken")
    return (home / "told").read_text().strip()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_finds_the_script_in_its_path_of_functions(home: Path) -> None:
    functions = home / "functions"
    functions.mkdir()
    (functions / "_leaderlock").write_text(run("completion", "zsh").stdout)
    script = ZSH.replace('. "$SCRIPT"\n', "")
    assert script != ZSH
    start = home / "start"
    start.write_text(f"fpath=({functions} $fpath)\n{script}")
    with on_a_terminal(["zsh", "-f", "-i"], home) as (terminal, output):
        os.write(terminal, f". {start}; echo rea''dy\n".encode())
        until(lambda: b"ready" in output(), "the shell to be ready")
        told = home / "told"
        for _ in range(2):  # the first one loads the function
            os.write(terminal, b"leaderlock hist\t")
            until(lambda: told.exists() and "end" in told.read_text(), "candidates")
            assert "history" in told.read_text().split()
            told.unlink()
            os.write(terminal, b"\x15")  # Ctrl-U


BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")


@pytest.mark.skipif(not BASH_COMPLETION.exists(), reason="bash-completion is not installed")
def test_with_bash_completion_the_command_that_is_run_completes_itself(home: Path) -> None:
    before = f". {BASH_COMPLETION}\n"
    line = "leaderlock run -n -- leaderlock history --pl"
    assert candidates("bash", line, home, before) == {"--plot"}


def test_the_list_of_names_leaves_out_what_a_shell_would_misread(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEADERLOCK_DIR", str(home / "locks"))
    for name in ("a b", "$(reboot)", "two\nlines"):
        (home / "locks" / f"{name}.lock").touch()
    listed = run("completion", "--list", "names").stdout.splitlines()
    assert {"a b", "$(reboot)"} <= set(listed)
    assert "lines" not in listed


@pytest.mark.parametrize(
    "words", [(), ("csh",), ("bash", "zsh"), ("--list", "x"), ("--list", "names", "x")]
)
def test_what_is_no_shell_is_refused(words: tuple[str, ...]) -> None:
    result = run("completion", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert "leaderlock completion --help" in result.stderr
