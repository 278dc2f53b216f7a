"""The command as a service: what it says with sd_notify(3), what it must say, and who hears of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import until, until_parked
from tests.supervisor.pid1 import Running, needs_namespaces, run, state_of
from tests.supervisor.told import TOLD, Told, managing

PID1 = pytest.param(True, marks=needs_namespaces, id="as PID 1")
CHILD = pytest.param(False, id="as a child")
ABRT = 128 + signal.SIGABRT
# Longer than any test, on the slowest machine.
LONG = "1000"


@pytest.fixture(autouse=True)
def without_core_dumps() -> None:
    """The command is sent SIGABRT, and inherits this."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_the_command_finds_socket_and_interval_in_its_environment(as_pid1: bool) -> None:
    with Told("--watchdog", "7.5", as_pid1=as_pid1) as running:
        running.begin("say(os.environ['WATCHDOG_USEC'], os.environ['NOTIFY_SOCKET'][0])")
        assert running.line() == "7500000 @"
        assert running.line() == "ok"
        running.tell("assert 'WATCHDOG_PID' not in os.environ")
        running.close_input()
        assert running.wait() == 0


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_a_missed_beat_ends_the_command_by_sigabrt(as_pid1: bool) -> None:
    with Running("run", "--watchdog", "0.5", "--", "sleep", LONG, as_pid1=as_pid1) as running:
        assert running.wait() == ABRT
        assert "seems to hang, so leaderlock stops it: it missed its beat of 0.5 s" in running.said()


def test_beats_in_time_keep_it_alive() -> None:
    with Told("--watchdog", "3") as running:
        began = time.monotonic()
        while time.monotonic() - began < 4.5:
            running.tell("notify('WATCHDOG=1'); time.sleep(0.2)")
        running.close_input()
        assert running.wait() == 0


def test_a_stopped_command_misses_its_beat_and_is_killed() -> None:
    """SIGABRT alone does nothing to it: it is continued, so that it acts upon it."""
    with Told("--watchdog", "3") as running:
        os.kill(running.command_pid, signal.SIGSTOP)
        assert running.wait() == ABRT


@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_one_that_survives_sigabrt_is_killed(as_pid1: bool) -> None:
    with Told("--watchdog", "1000", as_pid1=as_pid1) as running:
        running.tell("signal.signal(signal.SIGABRT, signal.SIG_IGN)")
        running.tell("notify('WATCHDOG=trigger')")
        assert running.wait() == 128 + signal.SIGKILL


def test_a_command_that_ends_with_0_when_it_is_aborted_has_failed_all_the_same() -> None:
    with Told("--watchdog", LONG) as running:
        running.tell("signal.signal(signal.SIGABRT, lambda *_: os._exit(0))")
        running.begin("notify('WATCHDOG=trigger')")
        assert running.wait() == 125


def test_a_trigger_counts_as_a_missed_beat_and_cannot_put_off_the_kill() -> None:
    flood = "[(notify('WATCHDOG=trigger'), time.sleep(0.01)) for _ in range(100_000)]"
    with Told("--watchdog", LONG) as running:
        running.tell("signal.signal(signal.SIGABRT, signal.SIG_IGN)")
        running.begin(flood)
        assert running.wait() == 128 + signal.SIGKILL
        assert running.said().count("seems to hang") == 1


def test_a_hang_lets_the_lock_go(path: Path) -> None:
    words = ("--lock", str(path), "--watchdog", "0.5", "--", "sh", "-c", f"echo up; exec sleep {LONG}")
    with Running("run", *words) as running:
        assert running.line() == "up"
        lock = LeaderLock(path)
        assert lock.acquire(timeout=60)
        lock.release()
        assert running.wait() == ABRT


def test_a_hang_is_a_failure_that_the_command_is_restarted_after(tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo x >>{count}; [ $(wc -l <{count}) = 1 ] && exec sleep 1000; exit 4"
    options = ["--watchdog", "2", "--restart", "on-failure", "--restart-limit", "1/60"]
    result = run("run", *options, "--", "sh", "-c", script)
    assert result.returncode == 4
    assert "ended with status 134: leaderlock starts it again" in result.stderr


def test_it_must_be_ready_in_time() -> None:
    with Running("run", "--ready-timeout", "0.5", "--", "sleep", LONG) as running:
        assert running.wait() == ABRT
        assert "it did not send READY=1 within 0.5 s" in running.said()


def test_one_that_is_ready_in_time_need_not_say_anything_more() -> None:
    with Told("--ready-timeout", "4") as running:
        running.tell("notify('READY=1')")
        running.tell("time.sleep(4.5)")
        running.close_input()
        assert running.wait() == 0


def test_beats_are_due_only_once_it_is_ready() -> None:
    with Told("--ready-timeout", LONG, "--watchdog", "0.5") as running:
        running.tell("time.sleep(1)")
        running.begin("notify('READY=1')")
        assert running.wait() == ABRT
        assert "missed its beat" in running.said()


def test_it_may_ask_for_more_time_to_be_ready() -> None:
    with Told("--ready-timeout", "4") as running:
        running.tell("notify('EXTEND_TIMEOUT_USEC=600000000')")
        running.tell("time.sleep(4.5)")
        running.tell("notify('READY=1')")
        running.close_input()
        assert running.wait() == 0


def test_it_may_ask_for_more_time_to_stop() -> None:
    with Told("--watchdog", LONG, "--stop", "TERM/4/KILL") as running:
        running.is_sent(signal.SIGTERM)
        running.tell("notify('EXTEND_TIMEOUT_USEC=600000000')")
        running.tell("time.sleep(4.5)")
        running.begin("os._exit(6)")
        assert running.wait() == 6


def test_it_may_change_its_interval() -> None:
    with Told("--watchdog", LONG) as running:
        running.begin("notify('WATCHDOG_USEC=300000')")
        assert running.wait() == ABRT
        assert "missed its beat of 0.3 s" in running.said()


def test_a_beat_during_a_stop_does_not_arm_the_watchdog_again() -> None:
    with Told("--watchdog", "3", "--stop", "TERM/1000/KILL") as running:
        running.is_sent(signal.SIGTERM)
        running.tell("notify('WATCHDOG=1'); time.sleep(3.5)")
        running.begin("os._exit(6)")
        assert running.wait() == 6


def test_stopping_ends_the_watch() -> None:
    with Told("--watchdog", "4") as running:
        running.tell("notify('STOPPING=1')")
        running.tell("notify('WATCHDOG=1'); time.sleep(4.5)")
        running.close_input()
        assert running.wait() == 0


def test_mainpid_makes_another_process_the_one_that_counts() -> None:
    """A command that double-forks, as daemons do: it ends at once, and its child's end is the end."""
    with Told("--watchdog", LONG) as running:
        running.begin("child = os.fork() or (os.setsid(), time.sleep(1000)); say(child)")
        child = int(running.line())
        assert running.line() == "ok"
        running.tell(f"notify('MAINPID={child}')")
        running.begin("os._exit(9)")
        until(lambda: state_of(running.command_pid) == "", "the command to be taken in")
        running.signal(signal.SIGUSR1)
        assert running.wait() == 128 + signal.SIGUSR1


def test_mainpid_of_a_process_that_is_not_our_child_is_watched_too() -> None:
    """The command has ended; between us and its main process stands one that waits for that."""
    fork = (
        "os.fork() or (os.setsid(), subprocess.run(['sh', '-c', 'echo main $$; exec sleep 1000']),"
        " time.sleep(1000))"
    )
    with Told("--watchdog", LONG, "--stop", "TERM/5/KILL") as running:
        running.begin(fork)
        lines = running.lines(2)
        main = int(next(line for line in lines if line.startswith("main")).split()[1])
        running.tell(f"notify('MAINPID={main}')")
        running.begin("os._exit(9)")
        until(lambda: state_of(running.command_pid) == "", "the command to be taken in")
        os.kill(main, signal.SIGKILL)
        assert running.wait() == 0  # its parent has the status; we cannot know it


def test_when_the_main_process_ends_before_the_command_the_commands_end_counts() -> None:
    with Told("--watchdog", LONG, "-v") as running:
        running.begin("child = subprocess.Popen(['sleep', '1000']); say(child.pid)")
        child = int(running.line())
        assert running.line() == "ok"
        running.tell(f"notify('MAINPID={child}')")
        running.until_said(f"the main process is {child} now")
        running.tell("child.kill(); child.wait()")
        running.until_said(f"process {running.command_pid} is the main process again")
        running.begin("os._exit(6)")
        assert running.wait() == 6


def test_mainpid_of_leaderlock_itself_or_of_a_stranger_changes_nothing() -> None:
    with Told("--watchdog", LONG) as running:
        for pid in (running.pid, os.getpid(), 1, 0, 2**31 - 1, 10**18, -1):
            running.tell(f"notify('MAINPID={pid}')")
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM


def test_a_sender_outside_the_commands_tree_is_ignored_and_logged() -> None:
    with Told("--ready-timeout", LONG) as running:
        running.begin("say(os.environ['NOTIFY_SOCKET'])")
        address = running.line()
        assert running.line() == "ok"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            for _ in range(20):
                stranger.sendto(b"WATCHDOG=trigger", "\0" + address[1:])
        running.until_said("further ones are not mentioned")
        assert running.said().count("which is not the command's") == 10
        assert f"process {os.getpid()}" in running.said()
        running.close_input()
        assert running.wait() == 0


def test_descendants_may_speak_for_the_command_also_as_orphans() -> None:
    for how in ("os.fork()", "os.fork() or (os.setsid(), os.fork())[1]"):
        with Told("--watchdog", LONG, "-v") as running:
            running.begin(
                f"pid = {how} or (time.sleep(0.1), notify('STATUS=from below'), time.sleep(1000))"
            )
            running.until_said("status: from below")
            running.signal(signal.SIGTERM)
            running.wait()


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="there is no systemd-notify")
def test_systemd_notify_works_barrier_included() -> None:
    with Told("--ready-timeout", "5", "-v") as running:
        notify = ["systemd-notify", "--ready", "--status=all is well"]
        running.begin(f"say(subprocess.run({notify}).returncode)")
        assert running.line() == "0"
        running.until_said("status: all is well")
        running.close_input()
        assert running.wait() == 0


def test_a_barrier_is_answered_by_closing_its_descriptor() -> None:
    send = "r, w = os.pipe(); socket.send_fds(manager, [b'BARRIER=1'], [w]); os.close(w); "
    barrier = send + "say(os.read(r, 1))"
    with Told("--watchdog", LONG) as running:
        for _ in range(3):
            running.begin(barrier)
            assert running.lines(2) == ["b''", "ok"]
        before = len(os.listdir(f"/proc/{running.pid}/fd"))
        # Many descriptors at once, and with a message that is ignored, are closed as well.
        running.tell("r, w = os.pipe(); socket.send_fds(manager, [b'nothing'], [w] * 200); os.close(w)")
        running.begin("say(os.read(r, 1))")
        assert running.lines(2) == ["b''", "ok"]
        assert len(os.listdir(f"/proc/{running.pid}/fd")) == before


NONSENSE = [
    "b''",
    "b'\\n\\n\\n'",
    "b'READY'",
    "b'=1'",
    "b'\\0' * 100",
    "b'READY=1\\xff\\xfe'",
    "b'STATUS=' + b'x' * 100_000",
    "b'STATUS=' + b'x' * 4090",
    "b'WATCHDOG_USEC=abc'",
    "b'WATCHDOG_USEC=0'",
    "b'WATCHDOG_USEC=-5'",
    "b'WATCHDOG_USEC=' + b'9' * 1000",
    "b'WATCHDOG_USEC=999999999999999999'",
    "b'EXTEND_TIMEOUT_USEC=999999999999999999'",
    "b'EXTEND_TIMEOUT_USEC=1e9'",
    "'EXTEND_TIMEOUT_USEC=\u0665'",
    "'MAINPID=\u0665'",
    "b'MAINPID='",
    "b'MAINPID=' + b'9' * 4000",
    "b'WATCHDOG=2'",
    "b'READY=0'",
    "b'STOPPING=0'",
    "b'FDSTORE=1'",
    "b'STATUS=\\x1b[31m'",
    "b'A=1\\n' * 1000",
]


@pytest.mark.parametrize("options", [("--watchdog", LONG), ("--ready-timeout", LONG, "-vv")])
def test_malformed_and_over_long_messages_do_no_harm(options: tuple[str, ...]) -> None:
    with Told(*options) as running:
        for message in NONSENSE:
            # An over-long one may be more than the sender's socket takes: EMSGSIZE.
            running.tell(f"notify({message})")
        assert running.process.poll() is None
        running.tell("notify('STATUS=still here')")
        if "-vv" in options:
            running.until_said("status: still here")
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert "Traceback" not in running.said()


@pytest.mark.parametrize(
    "message", ["WATCHDOG=1", "STATUS=x", "nonsense", "WATCHDOG_USEC=x", "EXTEND_TIMEOUT_USEC=5000000"]
)
def test_a_flood_of_100_000_messages_is_bounded_and_term_is_acted_upon_meanwhile(message: str) -> None:
    flood = f"[notify({message!r}) for _ in range(100_000)]"
    with Told("--watchdog", LONG, "--stop", "TERM/1000/KILL") as running:
        memory = resident_of(running.pid)
        running.tell("signal.signal(signal.SIGTERM, lambda *_: say('term'))")
        running.begin(flood)
        time.sleep(0.2)
        running.signal(signal.SIGTERM)
        assert running.line() == "term"  # before the flood has ended
        assert running.line() == "ok"
        assert resident_of(running.pid) - memory < 3 * 1024
        assert running.said().count("\n") < 20
        running.begin("os._exit(5)")
        assert running.wait() == 5


def resident_of(pid: int) -> int:
    """KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_flood_by_a_stranger_does_not_keep_the_commands_beats_out() -> None:
    flood = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "for _ in range(100_000): s.sendto(b'WATCHDOG=trigger', chr(0) + sys.argv[1][1:])\n"
    )
    with Told("--watchdog", "20") as running:
        running.begin("say(os.environ['NOTIFY_SOCKET'])")
        address = running.line()
        assert running.line() == "ok"
        with Running(address, program=[sys.executable, "-c", flood]) as stranger:
            while stranger.process.poll() is None:
                running.tell("notify('WATCHDOG=1'); time.sleep(0.05)")
            assert stranger.wait() == 0
        assert running.said().count("\n") == 10
        running.close_input()
        assert running.wait() == 0


# Upward: to the manager of our own.


@pytest.mark.parametrize("abstract", [False, True], ids=["pathname", "abstract"])
@pytest.mark.parametrize("as_pid1", [PID1, CHILD])
def test_what_the_command_says_is_passed_on_to_our_manager(
    tmp_path: Path, abstract: bool, as_pid1: bool
) -> None:
    with (
        managing(tmp_path, abstract=abstract) as manager,
        Told(environment=manager.environment, as_pid1=as_pid1) as running,
    ):
        running.tell("assert address != " + repr(manager.environment["NOTIFY_SOCKET"]))
        for message in ("STATUS=starting", "READY=1\nSTATUS=ready", "RELOADING=1\nMONOTONIC_USEC=5"):
            running.tell(f"notify({message!r})")
            assert manager.message() == message
        running.tell("notify('EXTEND_TIMEOUT_USEC=5000000')")
        assert manager.message() == "EXTEND_TIMEOUT_USEC=5000000"
        running.tell("notify('MAINPID=1\\nFDSTORE=1\\nWATCHDOG_USEC=5\\nSTOPPING=1')")
        assert manager.message() == "WATCHDOG_USEC=5"
        assert manager.message() == "STOPPING=1"
        running.begin("os._exit(4)")
        assert running.wait() == 4


def test_the_managers_watchdog_is_fed_by_us_until_the_command_beats_and_then_by_it(
    tmp_path: Path,
) -> None:
    with managing(tmp_path) as manager:
        environment = {**manager.environment, "WATCHDOG_USEC": "1000000"}
        with Told(environment=environment) as running:
            assert [manager.message() for _ in range(3)] == ["WATCHDOG=1"] * 3
            running.tell("assert os.environ['WATCHDOG_USEC'] == '1000000'")
            running.tell("notify('READY=1')")
            manager.until("READY=1")
            assert manager.is_silent(1.5)  # the beats are the command's affair now
            running.tell("notify('WATCHDOG=1')")
            assert manager.message() == "WATCHDOG=1"
            running.close_input()
            assert running.wait() == 0


def test_a_standby_is_ready_for_the_manager_and_a_leader_when_its_command_is(
    tmp_path: Path, path: Path
) -> None:
    with managing(tmp_path) as manager:
        lock = LeaderLock(path)
        with lock:
            options = ["run", "--lock", str(path), "--", *TOLD]
            with Running(*options, environment=manager.environment) as running:
                assert manager.message() == f"READY=1\nSTATUS=standing by for {path}"
                until_parked(path, running.pid)
                running.signal(signal.SIGTERM)
                running.wait()
        with Told("--lock", str(path), environment=manager.environment) as leader:
            leader.tell("notify('STATUS=leading')")
            assert manager.message() == "STATUS=leading"  # and nothing before it
            leader.close_input()
            assert leader.wait() == 0


@pytest.mark.parametrize(
    "address", ["/no/such/socket", "@no-such-socket", "nonsense", "/" + "x" * 500, "@", "vsock:2:1"]
)
def test_a_manager_that_is_not_there_or_nonsense_costs_the_command_nothing(address: str) -> None:
    result = run(
        "run", "--", "sh", "-c", "exit 3",
        environment={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"},
    )  # fmt: skip
    assert result.returncode in (3, 125)
    assert "Traceback" not in result.stderr
    if result.returncode == 125:
        assert "NOTIFY_SOCKET" in result.stderr


def test_a_manager_that_does_not_read_does_not_hold_us_up(tmp_path: Path) -> None:
    with managing(tmp_path) as manager, Told(environment=manager.environment) as running:
        running.tell("[notify(f'STATUS={n}') for n in range(5_000)]")
        running.signal(signal.SIGTERM)
        assert running.wait() == 128 + signal.SIGTERM
        assert running.said().count("to the service manager: ") == 1


def test_a_watchdogs_command_that_is_killed_leaves_no_daemon_behind(tmp_path: Path) -> None:
    """With a watchdog we are a subreaper: a daemon of the command's is the command's."""
    with Told("--watchdog", LONG) as running:
        running.begin("os.fork() or (os.setsid(), os.fork(), say(os.getpid()), time.sleep(1000))")
        daemons = [int(line) for line in running.lines(3) if line != "ok"]
        running.begin("os._exit(5)")
        assert running.wait() == 5
        until(lambda: all(state_of(pid) in ("", "Z") for pid in daemons), "them to end")
