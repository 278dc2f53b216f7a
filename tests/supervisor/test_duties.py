"""What docs/pid1.md says goes wrong without a fit PID 1, beside the same under leaderlock."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import until
from tests.supervisor.pid1 import (
    CATCHER,
    LEADERLOCK,
    Running,
    children_of,
    needs_namespaces,
    run,
    state_of,
    until_ended,
    zombies_of,
)

RUN = [*LEADERLOCK, "run", "--"]
BEATING = Path(__file__).with_name("beating.py")


def ends_within(running: Running, seconds: float) -> bool:
    pidfd = os.pidfd_open(running.pid)
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


@needs_namespaces
def test_a_program_without_a_handler_ignores_term_if_it_is_pid_1_and_ends_if_it_is_not() -> None:
    words = ["sh", "-c", "echo up; exec sleep 1000"]
    with Running(*words[1:], program=words[:1], as_pid1=True) as bare:
        assert bare.line() == "up"
        bare.signal(signal.SIGTERM)
        assert not ends_within(bare, 0.5)
    with Running(*words, program=RUN, as_pid1=True) as supervised:
        assert supervised.line() == "up"
        supervised.signal(signal.SIGTERM)
        assert supervised.wait() == 128 + signal.SIGTERM


@needs_namespaces
def test_a_shell_as_pid_1_keeps_the_signal_to_itself() -> None:
    # `; true`, as without it the shell would become the command.
    script = f"{' '.join(CATCHER)}; true"
    with Running("-c", script, program=["sh"], as_pid1=True) as shell:
        assert shell.line().startswith("up")
        shell.signal(signal.SIGTERM)
        assert not ends_within(shell, 0.5)
        [catcher] = children_of(shell.pid)
        assert state_of(catcher) not in ("", "Z")


@needs_namespaces
def test_a_program_that_reaps_only_its_own_leaves_zombies_as_pid_1() -> None:
    script = "(sleep 0.05 &); echo up; exec sleep 1000"
    with Running("-c", script, program=["sh"], as_pid1=True) as bare:
        assert bare.line() == "up"
        deadline = time.monotonic() + 60
        while not zombies_of(bare.pid):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@needs_namespaces
def test_what_pid_1_leaves_behind_is_killed_unasked_and_under_leaderlock_it_may_finish() -> None:
    polite = "trap 'sleep 0.2; echo finished; exit' TERM; echo up; while :; do sleep 0.02; done"
    script = f'sh -c "{polite}" & read x; exit 3'
    for program, last in (["sh"], []), ([*RUN, "sh"], ["finished"]):
        reader, writer = os.pipe()
        with Running("-c", script, program=program, as_pid1=True, stdin=reader) as running:
            os.close(reader)
            assert running.line() == "up"
            os.write(writer, b"\n")
            assert running.wait() == 3
            assert running.rest() == last
        os.close(writer)


@needs_namespaces
def test_a_log_shipper_loses_the_last_line_unless_it_is_a_sidecar(tmp_path: Path) -> None:
    shipper = "sleep 1; cat"  # it is a little late
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    bare = run(
        "-c",
        f'sh -c "{shipper}" <{fifo} & exec >{fifo} && echo last; exit 3',
        program=["sh"],
        as_pid1=True,
    )
    assert (bare.returncode, bare.stdout) == (3, "")
    shipped = run(
        *("run", "--log-sidecar", f"sh -c '{shipper}'", "--", "sh", "-c", "echo last; exit 3"),
        as_pid1=True,
    )
    assert (shipped.returncode, shipped.stdout) == (3, "last\n")


def test_the_parent_death_signal_does_not_reach_a_set_user_id_program(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a program set-user-ID to somebody else")
    sleep = tmp_path / "sleep"
    shutil.copy(shutil.which("sleep") or "", sleep)
    os.chown(sleep, 65534, 65534)
    sleep.chmod(0o4755)
    tmp_path.chmod(0o755)
    lock = LeaderLock(tmp_path / "a.lock")
    with Running(
        "run", "--lock", lock.path, "--", "sh", "-c", f"echo $$; exec {sleep} 1000"
    ) as running:
        pid = int(running.line())
        comm = Path(f"/proc/{pid}/comm")
        until(lambda: comm.read_text() == "sleep\n" and state_of(pid) == "S", "it to sleep")
        running.process.kill()
        running.process.wait()
        assert lock.acquire(timeout=60)
        assert state_of(pid) == "S", "it has ended: then the limit is none, and the docs can say so"
        os.kill(pid, signal.SIGKILL)
        until_ended(pid)
        lock.release()


def test_a_message_whose_sender_has_ended_when_it_is_read_is_ignored_and_that_is_said() -> None:
    send = f"{sys.executable} {BEATING} send:STATUS=gone"
    # The sender is a child of the shell's, which takes it in; leaderlock sleeps meanwhile.
    script = f"kill -STOP $PPID; {send}; kill -CONT $PPID; echo sent; read x"
    with Running("run", "-v", "--watchdog", "60", "--", "sh", "-c", script) as running:
        assert running.line() == "sent"
        running.until_said("ignored a notify message, since it comes from process")
        assert "status: gone" not in running.said()


def test_what_is_closed_at_the_start_is_dev_null_for_the_command() -> None:
    program = "import os; os.write(2, os.readlink('/proc/self/fd/1').encode())"
    show = f'{" ".join(RUN)} {sys.executable} -c "{program}"'
    closed = run("-c", f"{show} >&-", program=["sh"])
    assert (closed.returncode, closed.stderr) == (0, "/dev/null")
