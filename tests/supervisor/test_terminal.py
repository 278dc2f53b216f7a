"""Job control, at a real terminal: with a shell of its own around leaderlock, and as PID 1 of one."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.kernel.proc.processes import process_table
from tests.processes import PATIENCE, until, until_parked
from tests.supervisor.pid1 import (
    CATCHER,
    IN_NAMESPACE,
    LEADERLOCK,
    children_of,
    in_session,
    needs_namespaces,
    state_of,
)

CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"
RUN = " ".join([*LEADERLOCK, "run"])
# What comes back from the command, unlike the terminal's own echo of what is typed.
ANSWERING = "sed -u s/^/got:/"
NUMBERS = " ".join(CATCHER)


class Terminal:
    """A terminal with a program in its foreground."""

    def __init__(self, pid: int, fd: int) -> None:
        self.pid = pid
        self._fd = fd
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def foreground(self) -> int:
        """Its foreground process group."""
        return os.tcgetpgrp(self._fd)

    def until(self, text: str) -> str:
        """Wait until it shows a text, and return what came before it."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._seen:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"it does not show {text!r}, only {self._seen!r}")
            self._seen += os.read(self._fd, 65536).decode(errors="replace")
        before, _, self._seen = self._seen.partition(text)
        return before

    def wait(self) -> int:
        """The program's exit status."""
        with contextlib.suppress(OSError):  # EIO: nobody has the terminal open any more
            while select.select([self._fd], [], [], PATIENCE)[0] and os.read(self._fd, 65536):
                pass
        end = os.pidfd_open(self.pid)
        try:
            assert select.select([end], [], [], PATIENCE)[0], "it has not ended"
        finally:
            os.close(end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def terminal(command: Sequence[str]) -> Iterator[Terminal]:
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execvpe(command[0], list(command), {**os.environ, "PS1": "$ ", "TERM": "dumb"})
        finally:
            os._exit(127)
    try:
        yield Terminal(pid, fd)
    finally:
        for member in in_session(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(fd)


@pytest.fixture
def bash() -> Iterator[Terminal]:
    """An interactive shell."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    with terminal(["bash", "--norc", "--noprofile", "--noediting", "-i"]) as shell:
        shell.type("set -b; echo shell-$((1 + 1))\n")  # -b: say at once when a job stops
        shell.until("shell-2")
        yield shell


def until_all_stopped(group: int) -> None:
    """Wait until Ctrl-Z has stopped every process of a group, and not its leader alone.

    Bash and leaderlock are told of the leader's stop alone: wait(2) tells of children, and a pidfd of
    no stop. Another process of the group may not have been scheduled since. What is typed before it is,
    its read(2), begun in the foreground, still gets: the kernel looks for input first and for signals
    second, and for the foreground group only as a read begins (n_tty_read in drivers/tty/n_tty.c). So
    it is without leaderlock, too, and even after the shell's prompt.
    """
    until(
        lambda: {state_of(pid) for pid, it in process_table().items() if it.group == group} == {"T"},
        f"all of the process group {group} to stop",
    )


def status_of_last(bash: Terminal) -> int:
    bash.type("echo status-$?-\n")
    bash.until("status-$?-")  # the echo of what was typed
    bash.until("status-")
    return int(bash.until("-"))


@pytest.mark.parametrize("options", ["", "--watchdog 1000"])
def test_ctrl_c_reaches_the_command_once(bash: Terminal, options: str) -> None:
    bash.type(f"{RUN} {options} -- {NUMBERS} 3 10\n")
    bash.until("up ")
    bash.until("\r\n")  # behind the process ID
    bash.type(CTRL_C)
    bash.until("2\r\n")
    bash.type(CTRL_BACKSLASH)
    assert "2" not in bash.until("3\r\n").replace("^\\", "")
    bash.type("\n")


def test_ctrl_c_ends_a_command_that_does_not_mind_it_and_the_shell_has_the_terminal_again(
    bash: Terminal,
) -> None:
    bash.type(f"{RUN} -- sh -c 'echo up-$((1 + 1)); exec sleep 1000'\n")
    bash.until("up-2")
    bash.type(CTRL_C)
    assert status_of_last(bash) == 128 + signal.SIGINT


@pytest.mark.parametrize("command", [ANSWERING, f"sh -c '{ANSWERING}; exit 0'"])
@pytest.mark.parametrize("subcommand", ["run", "init", "run --watchdog 1000", "run --sidecar cat"])
def test_ctrl_z_and_fg_work_and_the_terminal_is_handed_back_at_the_end(
    bash: Terminal, command: str, subcommand: str
) -> None:
    bash.type(f"{' '.join(LEADERLOCK)} {subcommand} -- {command}\n")
    for text in ("one", "two", "three"):
        bash.type(f"{text}\n")
        bash.until(f"got:{text}")
        group = bash.foreground()  # the command's, since it reads
        bash.type(CTRL_Z)
        bash.until("Stopped")
        until_all_stopped(group)
        bash.type("echo shell-$((1 + 1))\n")
        bash.until("shell-2")
        bash.type("fg\n")
        bash.until("leaderlock")  # which job it is, says bash
    bash.type("four\n")
    bash.until("got:four")
    bash.type(CTRL_D)
    assert status_of_last(bash) == 0


def test_bg_lets_it_go_on_without_the_terminal(bash: Terminal, tmp_path: Path) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    bash.type(f"{RUN} -- sh -c 'echo up-$((1 + 1)); read x <{go}; echo >{done}'\n")
    bash.until("up-2")
    bash.type(CTRL_Z)
    bash.until("Stopped")
    bash.type("bg\n")
    bash.until("leaderlock")
    go.write_text("\n")
    until(done.exists, "it to go on")
    bash.type("wait; echo shell-$((1 + 1))\n")
    bash.until("shell-2")


def test_in_the_background_it_does_not_take_the_terminal_and_a_read_stops_the_job(
    bash: Terminal,
) -> None:
    bash.type(f"{RUN} -- {ANSWERING} &\n")
    bash.until("Stopped")
    bash.type("echo shell-$((1 + 1))\n")
    bash.until("shell-2")
    bash.type("fg\n")
    bash.until("leaderlock")
    bash.type("one\n")
    bash.until("got:one")
    bash.type(CTRL_D)
    assert status_of_last(bash) == 0


def test_ttou_does_not_stop_leaderlock(bash: Terminal) -> None:
    bash.type("stty tostop\n")
    bash.type(f"{RUN} -v -- true & wait $!; echo status-$?-\n")
    bash.until("leaderlock: the command has ended with status 0")
    bash.until("status-0-")


def test_ctrl_z_works_while_the_lock_is_waited_for(bash: Terminal, path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    bash.type(f"{RUN} --lock {path} -- {ANSWERING}\n")
    until(lambda: lock._standing() is not None and lock._standing().waiting, "it to queue")  # type: ignore[union-attr]
    bash.type(CTRL_Z)
    bash.until("Stopped")
    bash.type("fg\n")
    bash.until("leaderlock")
    lock.release()
    bash.type("one\n")
    bash.until("got:one")
    bash.type(CTRL_Z)
    bash.until("Stopped")
    bash.type("fg\n")
    bash.until("leaderlock")
    bash.type(CTRL_D)
    assert status_of_last(bash) == 0


def test_ctrl_c_ends_the_wait_for_the_lock(bash: Terminal, path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    bash.type(f"{RUN} --lock {path} -- echo never\n")
    until(lambda: lock._standing() is not None and lock._standing().waiting, "it to queue")  # type: ignore[union-attr]
    bash.type(CTRL_C)
    assert status_of_last(bash) == 128 + signal.SIGINT
    lock.release()


def test_a_command_that_is_restarted_gets_the_terminal_again(bash: Terminal) -> None:
    bash.type(f"{RUN} --restart always -- sh -c 'read x; echo got:$x; exit 3'\n")
    for text in ("one", "two"):
        bash.type(f"{text}\n")
        bash.until(f"got:{text}")


def test_with_a_watchdog_a_command_that_is_stopped_for_long_is_not_taken_for_hung_after_fg(
    bash: Terminal,
) -> None:
    bash.type(f"{RUN} --watchdog 2 -- sh -c 'echo up-$((1 + 1)); exec {ANSWERING}'\n")
    bash.until("up-2")
    bash.type(CTRL_Z)
    bash.until("Stopped")
    bash.type("sleep 2.5; fg\n")
    bash.until("leaderlock")
    bash.type("one\n")
    bash.until("got:one")
    bash.until("seems to hang")  # but it must beat now


def test_when_the_terminal_goes_away_the_command_is_told(path: Path) -> None:
    told = path.with_name("told")
    command = f"trap 'echo >{told}; exit 0' HUP; echo up-$((1 + 1)); sleep 1000 & wait"
    with terminal([*LEADERLOCK, "run", "--", "sh", "-c", command]) as shown:
        shown.until("up-2")
        os.kill(shown.pid, signal.SIGHUP)
        until(told.exists, "the command to be told")


AS_PID1 = [*IN_NAMESPACE, "setsid", "--ctty", *LEADERLOCK]


@needs_namespaces
@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_in_an_interactive_container_ctrl_c_reaches_the_command_once(subcommand: str) -> None:
    with terminal([*AS_PID1, subcommand, "--", *CATCHER, "3", "3"]) as shown:
        shown.until("up ")
        shown.until("\r\n")  # behind the process ID
        shown.type(CTRL_C)
        shown.until("2\r\n")
        shown.type(CTRL_BACKSLASH)
        assert "2" not in shown.until("3\r\n")
        assert shown.wait() == 3


@needs_namespaces
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_in_an_interactive_container_a_shell_has_job_control(subcommand: str) -> None:
    shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
    with terminal([*AS_PID1, subcommand, "--", *shell]) as shown:
        shown.type("set -b; echo shell-$((1 + 1))\n")
        assert "no job control" not in shown.until("shell-2")
        shown.type(f"{ANSWERING}\n")
        for text in ("one", "two"):
            shown.type(f"{text}\n")
            shown.until(f"got:{text}")
            shown.type(CTRL_Z)
            shown.until("Stopped")
            shown.until("$ ")
            shown.type("fg\n")
            shown.until("\nsed")
        shown.type("end\n")
        shown.until("got:end")  # so sed has the terminal, and Ctrl-C is for it
        shown.type(CTRL_C)
        shown.until("$ ")  # what is typed before, Ctrl-C may throw away
        shown.type("exit 5\n")
        assert shown.wait() == 5


@needs_namespaces
def test_in_an_interactive_container_ctrl_z_stops_the_command_and_cont_continues_it() -> None:
    """PID 1 does not stop with it: nobody could continue that."""
    with terminal([*AS_PID1, "run", "--", "sh", "-c", ANSWERING]) as shown:
        stop_by_ctrl_z_and_continue(shown)


def stop_by_ctrl_z_and_continue(shown: Terminal, *, below_pid1: bool = False) -> None:
    """Ctrl-Z stops the command (ANSWERING) alone, and SIGCONT to PID 1 continues it.

    Args:
        shown: the terminal, whose program's only child is PID 1.
        below_pid1: whether the command's parent is a child of PID 1, and not PID 1 itself.
    """
    shown.type("one\n")
    shown.until("got:one")
    shown.type(CTRL_Z)
    (pid1,) = children_of(shown.pid)
    (parent,) = children_of(pid1) if below_pid1 else (pid1,)
    until(lambda: "T" in states_under(parent), "the command to stop")
    os.kill(pid1, signal.SIGCONT)
    shown.type("two\n")
    shown.until("got:two")
    shown.type(CTRL_D)
    assert shown.wait() == 0


def states_under(pid: int) -> str:
    found = ""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        stat = Path(f"/proc/{child}/stat").read_text()
        found += stat.rpartition(")")[2].split()[0]
    return found


def test_a_lock_that_is_waited_for_without_a_terminal_is_none_the_worse(path: Path) -> None:
    """A session without a terminal: TSTP by hand stops nothing that nobody could continue."""
    from tests.supervisor.pid1 import Running

    lock = LeaderLock(path)
    lock.acquire()
    with Running("run", "--lock", str(path), "--", "echo", "led") as running:
        until_parked(path, running.pid)
        running.signal(signal.SIGTSTP)
        lock.release()
        assert running.line() == "led"
