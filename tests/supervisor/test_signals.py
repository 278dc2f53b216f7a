"""Signals, from whoever sends them to the command; and statuses, from the command to whoever asks."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.supervisor.loop import merged
from leaderlock.supervisor.signals import FORWARDED
from tests.processes import PATIENCE, until, until_parked
from tests.supervisor.pid1 import (
    CATCHER,
    IN_NAMESPACE,
    LEADERLOCK,
    Running,
    needs_namespaces,
    run,
)

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")

# What a process cannot do to itself in a test, or what does not end it.
HARMLESS = {
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGURG,
    signal.SIGWINCH,
}


def statuses_of(scripts: dict[int, str], *, as_pid1: bool) -> dict[int, int]:
    """The status of `leaderlock run` for each shell script, several of them at a time."""
    found: dict[int, int] = {}
    waiting = sorted(scripts)
    running: dict[int, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < 8:
            key = waiting.pop()
            running[key] = subprocess.Popen(
                [*(IN_NAMESPACE if as_pid1 else []), *LEADERLOCK, "run", "--", "sh", "-c", scripts[key]]
            )
        key, process = next(iter(running.items()))
        found[key] = process.wait(PATIENCE)
        del running[key]
    return found


@pytest.mark.parametrize("as_pid1", [PID1])
def test_every_exit_status_comes_back(as_pid1: bool) -> None:
    scripts = {status: f"exit {status}" for status in range(256)}
    assert statuses_of(scripts, as_pid1=as_pid1) == {status: status for status in range(256)}


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_every_signal_that_ends_the_command_comes_back_as_128_and_its_number(as_pid1: bool) -> None:
    ending = [int(number) for number in signal.valid_signals() - HARMLESS]
    scripts = {number: f"ulimit -c 0; kill -{number} $$; exit 99" for number in ending}
    expected = {number: 128 + number for number in ending}
    assert statuses_of(scripts, as_pid1=as_pid1) == expected


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
@pytest.mark.parametrize("subcommand", ["run", "init"])
def test_every_signal_that_can_be_caught_reaches_the_command(subcommand: str, as_pid1: bool) -> None:
    with Running(subcommand, "--", *CATCHER, "3", str(int(signal.SIGINT)), as_pid1=as_pid1) as running:
        assert running.line().startswith("up")
        for number in sorted(FORWARDED - {signal.SIGINT}):
            running.signal(number)
            assert running.line() == str(int(number))
        running.signal(signal.SIGINT)
        assert running.line() == str(int(signal.SIGINT))
        assert running.wait() == 3


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_what_cannot_or_must_not_be_forwarded_does_not_harm_us(as_pid1: bool) -> None:
    with Running("run", "--", *CATCHER, "3", as_pid1=as_pid1) as running:
        assert running.line().startswith("up")
        for number in (signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD):
            running.signal(number)
        running.signal(signal.SIGUSR1)
        assert running.line() == str(int(signal.SIGUSR1))
        running.signal(signal.SIGTERM)
        assert running.rest() == [str(int(signal.SIGTERM))]
        assert running.wait() == 3


def test_g_forwards_to_the_whole_group_and_without_it_to_the_command_alone() -> None:
    catchers = (
        f"trap 'echo own' USR1; {' '.join(CATCHER)} 0 10 & {' '.join(CATCHER)} 0 10 & wait; wait; wait"
    )
    for options, expected in ((["-g"], ["10", "10", "own"]), ([], ["own"])):
        with Running("run", *options, "--", "sh", "-c", catchers) as running:
            assert {line[:2] for line in running.lines(2)} == {"up"}
            running.signal(signal.SIGUSR1)
            assert sorted(running.lines(len(expected))) == expected
            running.signal(signal.SIGKILL)


def test_one_signal_is_forwarded_once_and_real_time_signals_are_queued() -> None:
    with Running("run", "--", *CATCHER, "3", "2") as running:
        assert running.line().startswith("up")
        running.signal(signal.SIGUSR1)
        assert running.line() == "10"
        for _ in range(100):
            running.signal(signal.SIGRTMIN + 1)
        running.signal(signal.SIGINT)
        lines = running.rest()
        # INT overtakes what is pending still: a lower number is delivered first (signal(7)).
        assert lines.count(str(signal.SIGRTMIN + 1)) <= 100
        assert set(lines) <= {"2", str(signal.SIGRTMIN + 1)}
        assert running.wait() == 3


def test_all_of_many_real_time_signals_arrive() -> None:
    with Running("run", "--", *CATCHER, "3", "2") as running:
        assert running.line().startswith("up")
        for _ in range(100):
            running.signal(signal.SIGRTMIN + 1)
        assert running.lines(100) == [str(signal.SIGRTMIN + 1)] * 100


def test_signals_that_came_together_count_once_each_in_the_order_of_their_last() -> None:
    usr1, term, real = int(signal.SIGUSR1), int(signal.SIGTERM), int(signal.SIGRTMIN)
    assert merged(bytes([usr1, term, usr1])) == [term, usr1]
    assert merged(bytes([real, usr1, real, usr1])) == [real, real, usr1]
    assert merged(b"") == []


def test_a_storm_of_signals_hides_neither_the_commands_end_nor_a_term() -> None:
    storm = (
        "import os, signal, sys\n"
        "pid = int(sys.argv[1])\n"
        "for n in range(200_000):\n"
        "    if n == 20_000: print('in it', flush=True)\n"
        "    os.kill(pid, signal.SIGUSR1 if n % 2 else signal.SIGRTMIN)\n"
    )
    ignoring = "trap '' USR1 RTMIN; trap 'kill $!; exit 5' TERM; sleep 1000 & echo up; wait; wait; wait"
    with Running("run", "--", "bash", "-c", ignoring) as running:
        assert running.line() == "up"
        with Running("-c", storm, str(running.pid), program=[sys.executable]) as sender:
            assert sender.line() == "in it"
            running.signal(signal.SIGTERM)
            assert running.wait() == 5


def what_comes(source: str) -> list[object]:
    """What a process that prepares a `loop` notes as having `came` while that runs."""
    whole = (
        "import os, signal\n"
        "from leaderlock.supervisor.loop import Loop\n"
        f"loop, came = Loop(), []\n{source}loop.run()\n"
        "print(came)\n"
    )
    run = subprocess.run([sys.executable, "-c", whole], stdout=subprocess.PIPE, text=True, timeout=60)
    found: list[object] = ast.literal_eval(run.stdout)
    return found


def test_a_signal_that_finds_no_place_in_the_pipe_is_not_lost() -> None:
    """As one that comes after 65,536 others in one go."""
    source = (
        "def callback(number):\n"
        "    came.append(number)\n"
        "    if number == signal.SIGINT: loop.stop()\n"
        "loop.on_signals([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT], callback)\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "while True:\n"
        "    try: os.write(loop._signals_in, bytes([signal.SIGUSR1]))\n"
        "    except BlockingIOError: break\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "loop.call_later(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    )
    assert what_comes(source) == [10, 15, 2]


def test_a_signal_that_comes_while_the_others_are_prepared_is_not_lost() -> None:
    source = (
        "once = iter([True])\n"
        "class Numbers(list):\n"
        "    def __iter__(self):\n"
        "        for number in super().__iter__():\n"
        "            yield number\n"
        "            if number == signal.SIGTERM and next(once, False):\n"
        "                os.kill(os.getpid(), number)\n"
        "def callback(number):\n"
        "    came.append(number)\n"
        "    if number == signal.SIGINT: loop.stop()\n"
        "loop.on_signals(Numbers([signal.SIGTERM, signal.SIGINT]), callback)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
    )
    assert what_comes(source) == [15, 2]


def test_a_signal_that_came_first_is_acted_on_first() -> None:
    """Its byte is written when the thread goes back to Python: poll(2) has looked by then."""
    source = (
        "read, write = os.pipe()\n"
        "class Interrupted:\n"
        "    def poll(self, timeout):\n"
        "        ready = poll.poll(timeout)\n"
        "        os.kill(os.getpid(), signal.SIGTSTP)\n"
        "        return ready\n"
        "loop.on_signals([signal.SIGTSTP], came.append)\n"
        "loop.on_readable(read, lambda: (came.append('lock'), loop.stop()))\n"
        "poll, loop._poll = loop._poll, Interrupted()\n"
        "os.write(write, b'x')\n"
    )
    assert what_comes(source) == [signal.SIGTSTP, "lock"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_was_ignored_at_the_start_stays_so_for_the_command_too(
    number: signal.Signals,
) -> None:
    show = "grep SigIgn /proc/self/status; echo up; read line"
    ignoring = ["env", f"--ignore-signal={number.name}", *LEADERLOCK]
    with Running("run", "--", "sh", "-c", show, program=ignoring, stdin=subprocess.PIPE) as running:
        assert int(running.line().split()[1], 16) & 1 << (number - 1)
        assert running.line() == "up"
        running.signal(number)
        running.close_input()
        assert running.wait() == 1  # `read` at the end of its input


def test_a_parent_that_ignores_the_ends_of_its_children_does_not_cost_the_status() -> None:
    ignoring = ["env", "--ignore-signal=CHLD", *LEADERLOCK]
    for subcommand in ("run", "init"):
        result = run(subcommand, "--", "sh", "-c", "sh -c 'exit 3'; exit $?", program=ignoring)
        assert result.returncode == 3


def test_signals_that_were_blocked_at_the_start_are_forwarded_all_the_same() -> None:
    blocking = ["env", "--block-signal", *LEADERLOCK]
    command = "trap 'exit 4' TERM; echo up; sleep 1000 & wait"
    with Running("run", "--", "sh", "-c", command, program=blocking) as running:
        assert running.line() == "up"
        running.signal(signal.SIGTERM)
        assert running.wait() == 4


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP], ids=lambda n: n.name
)
def test_a_signal_ends_the_wait_for_the_lock(path: Path, number: signal.Signals, as_pid1: bool) -> None:
    with (
        LeaderLock(path),
        Running("run", "--lock", str(path), "--", "echo", "never", as_pid1=as_pid1) as running,
    ):
        until(path.exists)
        until_parked(path, running.pid)
        for harmless in (signal.SIGUSR1, signal.SIGWINCH, signal.SIGCONT, signal.SIGTTIN):
            running.signal(harmless)
        running.signal(number)
        assert running.wait() == 128 + number
        assert (running.rest(), running.said()) == ([], "")


def test_a_signal_that_is_waiting_while_the_command_starts_reaches_it() -> None:
    """None is lost between the start of leaderlock and of its command: it dies, or the command does."""
    for delay in range(0, 60, 4):
        with Running("run", "--", "sleep", "1000") as running:
            os.sched_yield()
            running.process.poll()
            subprocess.run(["sleep", str(delay / 1000)])
            running.signal(signal.SIGTERM)
            assert running.wait() in (-signal.SIGTERM, 128 + signal.SIGTERM)


def test_the_command_has_no_descriptor_of_ours(path: Path) -> None:
    ours, theirs = os.pipe()
    try:
        with Running(
            "run", "--lock", str(path), "--watchdog", "60", "--sidecar", "cat", "--",
            "ls", "-l", "/proc/self/fd", pass_fds=[theirs],
        ) as running:  # fmt: skip
            links = [line.split(" -> ")[0].split()[-1] for line in running.rest() if " -> " in line]
    finally:
        os.close(ours)
        os.close(theirs)
    # 3, or another one, is the directory that ls itself reads; `theirs` is what we were given.
    assert len(set(links) - {"0", "1", "2", str(theirs)}) == 1
