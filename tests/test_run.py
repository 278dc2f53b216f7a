"""`leaderlock run`: the real program, from outside."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leaderlock import LeaderLock

LEADERLOCK = [sys.executable, "-m", "leaderlock"]


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LEADERLOCK, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


def start(*arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = subprocess.Popen(
        [*LEADERLOCK, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


def line_of(process: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0], "it printed nothing"
    return process.stdout.readline().rstrip("\n")


def wait_until_queued(lock: LeaderLock, pid: int) -> None:
    """Wait until the kernel has a process in the lock's queue. (It gives no event for that.)"""
    deadline = time.monotonic() + 60
    while True:
        standing = lock._standing()
        if standing is not None and pid in standing.waiting:
            return
        assert time.monotonic() < deadline, "it does not wait for the lock"
        time.sleep(0.01)


def end_of(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture
def lock(tmp_path: Path) -> LeaderLock:
    return LeaderLock(tmp_path / "run.lock")


@pytest.mark.parametrize("status", [0, 1, 7, 75, 125, 126, 127, 128, 255])
def test_the_commands_exit_status_comes_back(lock: LeaderLock, status: int) -> None:
    assert run("run", "--lock", lock.path, "--", "sh", "-c", f"exit {status}").returncode == status


def test_the_command_starts_without_a_lock_too() -> None:
    result = run("run", "--", "echo", "hello")
    assert (result.returncode, result.stdout, result.stderr) == (0, "hello\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV])
def test_a_command_that_dies_of_a_signal_gives_128_and_its_number(
    lock: LeaderLock, number: signal.Signals
) -> None:
    result = run("run", "--lock", lock.path, "--", "sh", "-c", f"ulimit -c 0; kill -{number} $$")
    assert result.returncode == 128 + number


def test_a_command_that_does_not_exist_gives_127(lock: LeaderLock) -> None:
    result = run("run", "--lock", lock.path, "--", "no-such-command-here")
    assert result.returncode == 127
    assert result.stderr == "leaderlock: cannot run no-such-command-here: No such file or directory\n"


def test_a_command_that_cannot_be_run_gives_126(lock: LeaderLock, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("not a program\n")
    result = run("run", "--lock", lock.path, "--", str(tmp_path / "plain"))
    assert result.returncode == 126
    assert "Permission denied" in result.stderr


@pytest.mark.parametrize("exec_option", [(), ("-F",)])
def test_the_command_finds_term_and_path_in_its_environment(
    lock: LeaderLock, exec_option: tuple[str, ...]
) -> None:
    show = 'echo "$LEADERLOCK_TERM $LEADERLOCK_PATH"'
    for term in (1, 2):
        result = run("run", "--lock", lock.path, *exec_option, "--", "sh", "-c", show)
        assert result.stdout == f"{term} {lock.path}\n"


def test_a_name_stands_for_a_file_in_the_directory_of_names(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    result = subprocess.run(
        [*LEADERLOCK, "run", "--name", "beat", "--", "sh", "-c", "echo $LEADERLOCK_PATH"],
        env={**os.environ, "LEADERLOCK_DIR": str(directory)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"{directory}/beat.lock\n"


def test_the_lock_is_held_while_the_command_runs_and_free_afterwards(lock: LeaderLock) -> None:
    process = start(
        "run", "--lock", lock.path, "--", "sh", "-c", "echo up; read line", stdin=subprocess.PIPE
    )
    assert line_of(process) == "up"
    assert not lock.acquire(blocking=False)
    holder = lock.holder()
    assert holder is not None
    assert holder.pid == process.pid
    assert end_of(process) == 1  # communicate() closed its input
    assert lock.acquire(blocking=False)
    lock.release()


def test_n_gives_up_at_once_with_75_or_the_code_of_e(lock: LeaderLock) -> None:
    with lock:
        assert run("run", "--lock", lock.path, "-n", "--", "true").returncode == 75
        assert run("run", "--lock", lock.path, "-nE", "9", "--", "true").returncode == 9
        assert run("run", "--lock", lock.path, "-F", "-n", "--", "true").returncode == 75
    assert run("run", "--lock", lock.path, "-n", "--", "true").returncode == 0


def test_w_waits_so_long_and_no_longer(lock: LeaderLock) -> None:
    with lock:
        begin = time.monotonic()
        assert run("run", "--lock", lock.path, "-w", "0.5", "--", "true").returncode == 75
        assert time.monotonic() - begin >= 0.5
    assert run("run", "--lock", lock.path, "-w", "0.5", "--", "true").returncode == 0


def test_who_waits_runs_when_the_lock_comes_free(lock: LeaderLock) -> None:
    lock.acquire()
    process = start("run", "--lock", lock.path, "--", "echo", "my turn")
    wait_until_queued(lock, process.pid)
    assert process.stdout is not None
    assert not select.select([process.stdout], [], [], 0)[0]
    lock.release()
    assert line_of(process) == "my turn"
    assert end_of(process) == 0


@pytest.mark.parametrize("exec_option", [(), ("-F",)])
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP], ids=lambda n: n.name
)
def test_a_signal_ends_the_wait_at_once_with_128_and_its_number(
    lock: LeaderLock, number: signal.Signals, exec_option: tuple[str, ...]
) -> None:
    with lock:
        process = start("run", "--lock", lock.path, *exec_option, "--", "echo", "never")
        wait_until_queued(lock, process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (128 + number, "", "")


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN],
    ids=lambda n: n.name,
)
def test_signals_are_forwarded_to_the_command(lock: LeaderLock, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda n, _: (print('got', n, flush=True), sys.exit(3)))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.05)\n"  # signal.pause() misses one that comes just before it
    )
    process = start("run", "--lock", lock.path, "--", sys.executable, "-c", code)
    assert line_of(process) == "up"
    process.send_signal(number)
    assert line_of(process) == f"got {int(number)}"
    assert end_of(process) == 3
    assert lock.acquire(blocking=False)
    lock.release()


def test_the_command_starts_with_default_signals_and_an_empty_mask() -> None:
    lines = run("run", "--", "cat", "/proc/self/status").stdout.splitlines()
    masks = dict(line.split(":\t") for line in lines if line.startswith("Sig"))
    # 32 and 33 are glibc's own, which its posix_spawn(3) leaves ignored until a program needs them.
    own = 1 << 31 | 1 << 32
    assert [int(masks[name], 16) & ~own for name in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


def test_if_leaderlock_is_killed_the_kernel_kills_the_command_too(
    lock: LeaderLock,
) -> None:
    process = start("run", "--lock", lock.path, "--", "sh", "-c", "echo $$; exec sleep 1000")
    command = os.pidfd_open(int(line_of(process)))
    process.kill()
    assert lock.acquire(timeout=60)
    assert select.select([command], [], [], 60)[0], "the command lives on"
    os.close(command)
    lock.release()
    end_of(process)


def test_the_command_does_not_inherit_the_lock(lock: LeaderLock) -> None:
    show = "ls -l /proc/self/fd"
    assert lock.path not in run("run", "--lock", lock.path, "--", "sh", "-c", show).stdout


def test_exec_leaves_no_process_beside_the_command_which_holds_the_lock(lock: LeaderLock) -> None:
    process = start(
        "run", "--lock", lock.path, "-F", "--", "sh", "-c", "echo $$; read x", stdin=subprocess.PIPE
    )
    assert int(line_of(process)) == process.pid
    holder = lock.holder()
    assert holder is not None
    assert (holder.pid, holder.term) == (process.pid, 1)
    assert not lock.acquire(blocking=False)
    end_of(process)
    assert lock.acquire(blocking=False)
    lock.release()


def test_after_exec_a_child_that_inherits_the_descriptor_holds_the_lock(lock: LeaderLock) -> None:
    command = "sleep 1000 >&- 2>&- & echo $!"
    process = start("run", "--lock", lock.path, "--exec", "--", "sh", "-c", command)
    child = int(line_of(process))
    try:
        assert end_of(process) == 0
        assert not lock.acquire(blocking=False)
    finally:
        os.kill(child, signal.SIGKILL)
    assert lock.acquire(timeout=60)
    lock.release()


def test_exec_of_a_command_that_does_not_exist_gives_127_and_lets_go(lock: LeaderLock) -> None:
    result = run("run", "--lock", lock.path, "-F", "--", "no-such-command-here")
    assert result.returncode == 127
    assert "no-such-command-here" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "no command is given"),
        (("--",), "no command is given"),
        (("--", ""), "no command is given"),
        (("--no-such-option", "--", "true"), "unknown option --no-such-option"),
        (("-n", "--", "true"), "there is no lock"),
        (("--lock", "/a", "--name", "b", "--", "true"), "not both"),
        (("--lock",), "--lock needs a value"),
        (("--lock", "/a", "-w", "-1", "--", "true"), "not negative"),
        (("--lock", "/a", "-w", "nan", "--", "true"), "not negative"),
        (("--lock", "/a", "-E", "256", "--", "true"), "0 to 255"),
        (("--name", "a/b", "--", "true"), "name must be"),
        (("--exec=yes", "--", "true"), "takes no value"),
    ],
)
def test_wrong_usage_gives_2_and_says_what_is_wrong(arguments: tuple[str, ...], complaint: str) -> None:
    result = run("run", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("leaderlock run: ")
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_lock_that_cannot_be_used_gives_125_and_names_path_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "a.lock"
    result = run("run", "--lock", str(path), "--", "echo", "never")
    assert result.returncode == 125
    assert result.stdout == ""
    assert str(path) in result.stderr
    assert "make its directory first" in result.stderr
    assert "Traceback" not in result.stderr


def test_garbage_in_the_lock_file_gives_125_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("garbage")
    result = run("run", "--lock", str(path), "--", "echo", "never")
    assert (result.returncode, result.stdout) == (125, "")
    assert "does not contain a leaderlock record" in result.stderr
    assert path.read_text() == "garbage"


def test_help_and_version_go_to_standard_output() -> None:
    for arguments in (("--help",), ("run", "--help"), ("status", "-h"), ("--version",)):
        result = run(*arguments)
        assert result.returncode == 0
        assert result.stdout.startswith("leaderlock ")
        assert result.stderr == ""


def test_an_unknown_command_gives_2() -> None:
    result = run("rum", "--", "true")
    assert result.returncode == 2
    assert "no command 'rum'" in result.stderr
