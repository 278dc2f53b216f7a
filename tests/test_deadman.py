"""The dead-man switch: who is killed, who is not, and what is left in the log."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderlock.deadman import SHORTEST_LEASE, DeadManSwitch
from leaderlock.errors import Unsupported
from leaderlock.kernel.stacks import SIGNALS
from tests.processes import PATIENCE, Child, ChildError, threads_of, until
from tests.supervisor.pid1 import IN_NAMESPACE, needs_namespaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these timers")

SOAK = float(os.environ.get("SOAK_SECONDS", "45"))

STACK = "most recent call first"

LEASE = 5
"""Seconds, of which the last fifth is for the stacks to be printed in, whatever else is going on."""

INSIST_EARLIER = "from leaderlock import deadman; deadman.PRINT_AT, deadman.INSIST_AT = 0.6, 0.8"
"""Without the GIL only a twentieth of a lease would be left."""

PROGRAM = """
import ctypes, faulthandler, re, resource, subprocess, multiprocessing
from leaderlock.deadman import DeadManSwitch

os.dup2(os.open(argv[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)

def loop_for_ever():
    while True:
        pass

def hold_the_gil_asleep():
    ctypes.PyDLL(None).sleep(600)

def hold_the_gil_at_work():
    re.match("(a+)+b", "a" * 64)

first, second = threading.Lock(), threading.Lock()
both_hold_one = threading.Barrier(2)

def take_first_then_second():
    with first:
        both_hold_one.wait()
        second.acquire()

def take_second_then_first():
    threading.Thread(target=take_first_then_second, daemon=True).start()
    with second:
        both_hold_one.wait()
        first.acquire()

def have_every_thread_blocked():
    for _ in range(4):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    threading.Event().wait()

def beat_while(condition):
    while condition():
        switch.beat()
        time.sleep(0.01)

def start_threads_and_compile():
    while True:
        exec(compile("def f(n): return f(n - 1) if n else 0\\nf(30)", "made up", "exec"), {})
        thread = threading.Thread(target=sorted, args=(range(50),))
        thread.start()
        thread.join()
"""


@contextlib.contextmanager
def watched(log: Path, lease: float) -> Iterator[Child]:
    """A process whose standard error is `log`, and which has a `switch` that is not armed."""
    with Child(log) as child:
        child.tell(PROGRAM)
        child.tell(f"switch = DeadManSwitch({lease})")
        yield child


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stderr"


def arm(child: Child) -> float:
    """Arm the switch; a time just before that."""
    before = time.monotonic()
    child.tell("switch.arm()")
    return before


def ends_by_the_switch(child: Child, armed: float, lease: float) -> bool:
    status = child.wait()
    assert time.monotonic() - armed >= lease, "killed too early"
    return status == -signal.SIGKILL


# Who is killed.


@pytest.mark.parametrize(
    ("hang", "culprits", "prepare"),
    [
        ("loop_for_ever", ["loop_for_ever"], ""),
        ("have_every_thread_blocked", ["have_every_thread_blocked"], ""),
        ("take_second_then_first", ["take_second_then_first", "take_first_then_second"], ""),
        ("hold_the_gil_asleep", ["hold_the_gil_asleep"], INSIST_EARLIER),
        ("hold_the_gil_at_work", ["hold_the_gil_at_work"], INSIST_EARLIER),
    ],
)
def test_a_process_that_hangs_is_killed_and_its_stacks_are_in_the_log(
    log: Path, hang: str, culprits: list[str], prepare: str
) -> None:
    with watched(log, LEASE) as child:
        child.tell(prepare)
        armed = arm(child)
        child.begin(f"{hang}()")
        assert ends_by_the_switch(child, armed, LEASE)
    text = log.read_text()
    assert STACK in text
    for culprit in culprits:
        assert f"in {culprit}\n" in text


def test_the_log_says_why_the_stacks_are_there(log: Path) -> None:
    with watched(log, LEASE) as child:
        child.tell("threading.Thread(target=have_every_thread_blocked, daemon=True).start()")
        arm(child)
        child.wait()
        text = log.read_text()
        assert f"leaderlock: process {child.pid} has not beaten for 80% of its lease of 5 s" in text
        assert text.count("Current thread") == 1, "printed with the GIL, and then without it as well"
        armed_by = text.split("armed by thread ")[1].split(".")[0]
        assert f"Thread {armed_by} ({STACK})" in text


def test_a_stopped_process_is_killed(log: Path) -> None:
    with watched(log, 1) as child:
        armed = arm(child)
        child.signal(signal.SIGSTOP)
        assert ends_by_the_switch(child, armed, 1)


def test_a_thread_that_does_not_let_the_gil_go_is_killed_wherever_it_is(log: Path) -> None:
    # The one that armed the switch only waits: the culprit is another.
    with watched(log, LEASE) as child:
        child.tell(INSIST_EARLIER)
        arm(child)
        child.begin("threading.Thread(target=hold_the_gil_asleep).start()")
        assert child.wait() == -signal.SIGKILL
    assert "in hold_the_gil_asleep\n" in log.read_text()


def test_an_interpreter_that_hangs_at_its_end_is_killed_and_not_before_the_lease(log: Path) -> None:
    # faulthandler has given its signal back by then. A pause ends with a signal, if one comes.
    with watched(log, 1) as child:
        armed = arm(child)
        child.tell(
            "pause = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p)\n"
            "for _ in range(2): ctypes.pythonapi.Py_AtExit(pause)"
        )
        assert child.end() == -signal.SIGKILL
        assert time.monotonic() - armed >= 1


def test_one_of_two_switches_kills_if_only_the_other_is_beaten(log: Path) -> None:
    with watched(log, LEASE) as child:
        child.tell(f"other = DeadManSwitch({LEASE}); other.arm()")
        arm(child)
        child.begin("beat_while(lambda: True)")
        assert child.wait() == -signal.SIGKILL
    assert "in beat_while\n" in log.read_text()


def test_a_switch_works_in_a_process_that_gevent_has_patched(log: Path) -> None:
    with watched(log, LEASE) as child:
        child.tell("from gevent import monkey; monkey.patch_all()")
        arm(child)
        child.begin("loop_for_ever()")
        assert child.wait() == -signal.SIGKILL
    assert "in loop_for_ever\n" in log.read_text()


# Who is not killed.


def test_a_process_that_beats_is_not_killed(log: Path) -> None:
    with watched(log, 2) as child:
        arm(child)
        child.tell("end = time.monotonic() + 4.5")
        child.tell("beat_while(lambda: time.monotonic() < end)")
        child.tell("switch.disarm()")
        assert child.end() == 0
    assert log.read_text() == ""


@pytest.mark.slow
@pytest.mark.alone
def test_a_process_that_beats_on_a_busy_machine_is_not_killed(log: Path) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        with watched(log, 1) as child:
            arm(child)
            child.begin(f"end = time.monotonic() + {SOAK}; beat_while(lambda: time.monotonic() < end)")
            child.answer(SOAK + PATIENCE)
            child.tell("switch.disarm()")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert log.read_text() == ""


def test_a_beat_after_the_stacks_were_printed_saves_the_process(log: Path) -> None:
    with watched(log, 8) as child:
        child.tell(
            "for _ in range(3): threading.Thread(target=start_threads_and_compile, daemon=True).start()"
        )
        armed = arm(child)
        until(lambda: STACK in log.read_text())
        child.tell("switch.beat()")
        child.tell(f"beat_while(lambda: time.monotonic() < {armed + 8.5})")
        assert child.tell("switch.disarm()") is None


def test_a_pause_that_ends_before_the_lease_harms_nothing(log: Path) -> None:
    with watched(log, 8) as child:
        armed = arm(child)
        child.signal(signal.SIGSTOP)
        until(lambda: time.monotonic() > armed + 6.8)  # 85 %: the timer that asks has expired
        child.signal(signal.SIGCONT)
        child.tell("switch.beat()")
        child.tell(f"beat_while(lambda: time.monotonic() < {armed + 8.5})")
        assert child.tell("switch.disarm()") is None


def test_a_disarmed_switch_kills_nobody_and_leaves_no_thread(log: Path) -> None:
    with watched(log, 2) as child:
        threads = threads_of(child.pid)
        arm(child)
        child.tell("switch.disarm(); ctypes.PyDLL(None).sleep(3)")  # nor does the parked thread get on
        until(lambda: threads_of(child.pid) == threads, "the parked thread to end")
    assert log.read_text() == ""


def test_the_parked_thread_takes_no_signal_that_is_meant_for_the_application(log: Path) -> None:
    with watched(log, 60) as child:
        arm(child)
        [parked] = set(threads_of(child.pid)) - {child.pid}
        status = Path(f"/proc/{child.pid}/task/{parked}/status").read_text(encoding="ascii")
        blocked = int(status.split("SigBlk:")[1].split()[0], 16)
        # Those that Python's valid_signals() leaves out are the C library's own, and KILL and STOP.
        open_to = {number for number in signal.valid_signals() if not blocked >> (number - 1) & 1}
        assert len(open_to - {signal.SIGKILL, signal.SIGSTOP} - set(SIGNALS)) == 0
        child.tell("switch.disarm()")


def test_arming_and_disarming_can_be_repeated_and_leave_no_timers(log: Path) -> None:
    timers = "sum(line.startswith('ID:') for line in open('/proc/self/timers'))"
    with watched(log, 60) as child:
        child.tell("switch.beat(); switch.disarm()")
        assert child.tell(timers) == 0
        child.tell("switch.arm(); switch.arm(); switch.arm()")
        until(lambda: child.tell(timers) == 3, "the first ones to be deleted")
        child.tell("switch.disarm(); switch.disarm(); switch.beat()")
        until(lambda: child.tell(timers) == 0, "all to be deleted")
        assert "not armed" in child.tell("repr(switch)")


def test_a_switch_that_was_armed_again_still_kills(log: Path) -> None:
    with watched(log, 1) as child:
        child.tell("switch.arm(); switch.arm(); switch.disarm()")
        armed = arm(child)
        assert ends_by_the_switch(child, armed, 1)


@pytest.mark.parametrize(
    ("start", "is_running", "status"),
    [
        (
            "pid = os.fork()\nif pid == 0: time.sleep(3); os._exit(7)",
            "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None",
            "os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
        ),
        (
            "process = subprocess.Popen(['sh', '-c', 'sleep 3; exit 7'])",
            "process.poll() is None",
            "process.returncode",
        ),
        (
            "process = multiprocessing.get_context('fork').Process("
            "target=lambda: (time.sleep(3), sys.exit(7))); process.start()",
            "process.is_alive()",
            "process.exitcode",
        ),
    ],
    ids=["fork", "subprocess", "multiprocessing"],
)
def test_a_child_of_an_armed_process_is_not_killed(
    log: Path, start: str, is_running: str, status: str
) -> None:
    with watched(log, 2) as child:
        arm(child)
        child.tell(start)
        child.tell(f"beat_while(lambda: {is_running})")
        child.tell("switch.disarm()")
        assert child.tell(status) == 7


def test_exec_deletes_the_timers(log: Path) -> None:
    with watched(log, 2) as child:
        arm(child)
        child.begin("os.execvp('sleep', ['sleep', '3'])")
        assert child.wait() == 0


# Forked children.


@pytest.mark.parametrize("call", ["beat", "disarm"])
def test_what_a_forked_child_does_with_it_is_nothing_to_the_parent(log: Path, call: str) -> None:
    with watched(log, 1) as child:
        armed = arm(child)
        child.begin(
            "if os.fork() == 0:\n"
            f"    while True: switch.{call}(); os.write(2, b'{call}')\n"
            "loop_for_ever()"
        )
        assert ends_by_the_switch(child, armed, 1)
        assert call in log.read_text()


@pytest.mark.parametrize("before", ["switch.arm()", "pass"], ids=["armed parent", "unarmed parent"])
def test_a_forked_child_arms_a_switch_of_its_own(log: Path, before: str) -> None:
    with watched(log, LEASE) as child:
        child.tell(before)
        child.tell(
            "pid = os.fork()\n"
            "if pid == 0: switch.arm(); loop_for_ever()\n"
            "switch.disarm()\n"  # the parent's
            "status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
        )
        assert child.tell("status") == -signal.SIGKILL
        assert f"leaderlock: process {child.tell('pid')} has not" in log.read_text()
        assert child.tell("os.getpid()") == child.pid


# Where the stacks cannot be printed, or not as usual.


def test_without_free_signals_it_kills_and_the_log_says_that_there_are_no_stacks(log: Path) -> None:
    with watched(log, 2) as child:
        child.tell(
            "seen = []\nfor number in range(50, 56): signal.signal(number, lambda n, _: seen.append(n))"
        )
        armed = arm(child)
        child.tell("os.kill(os.getpid(), 55); os.kill(os.getpid(), 50)")
        assert child.tell("sorted(seen)") == [50, 55]
        assert ends_by_the_switch(child, armed, 2)
    text = log.read_text()
    assert "will kill without printing stacks: fewer than two of the signals" in text
    assert STACK not in text


def test_signals_and_dumps_of_the_application_stay_its_own(log: Path) -> None:
    with watched(log, LEASE) as child:
        child.tell("mine = open(argv[0] + '.mine', 'w'); faulthandler.register(50, mine)")
        child.tell("seen = []; signal.signal(55, lambda *_: seen.append(55))")
        child.tell("switch.arm(); switch.disarm(); switch.arm()")
        child.tell("os.kill(os.getpid(), 55)")
        assert child.tell("seen") == [55]
        child.tell("os.kill(os.getpid(), 50)")
        assert STACK in log.with_name("stderr.mine").read_text()
        assert log.read_text() == ""
        child.begin("loop_for_ever()")
        assert child.wait() == -signal.SIGKILL
    assert "in loop_for_ever\n" in log.read_text()


def test_an_application_that_takes_the_signal_from_faulthandler_is_not_killed_early(log: Path) -> None:
    with watched(log, 2) as child:
        armed = arm(child)
        child.tell("for number in range(50, 56): faulthandler.unregister(number)")
        child.begin("hold_the_gil_asleep()")
        assert ends_by_the_switch(child, armed, 2)


@pytest.mark.parametrize(
    "change",
    [
        "os.close(2)",
        "os.dup2(os.open('/dev/null', os.O_RDONLY), 2)",
        "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)",
        "r, w = os.pipe(); os.dup2(w, 2); os.close(r); os.close(w)",
        "r, w = os.pipe(); os.dup2(w, 2)\n"
        "os.set_blocking(2, False)\n"
        "try:\n    while True: os.write(2, bytes(4096))\n"
        "except BlockingIOError: os.set_blocking(2, True)",
    ],
    ids=["closed", "for reading", "full disk", "reader gone", "full pipe"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_standard_error_that_is_of_no_use_does_not_save_anybody(
    log: Path, change: str, when: str
) -> None:
    with watched(log, 2) as child:
        if when == "before":
            child.tell(change)
        armed = arm(child)
        if when == "after":
            child.tell(change)
        assert ends_by_the_switch(child, armed, 2)
    assert log.read_text() == ""


def test_a_full_pipe_for_standard_error_holds_up_nobody_who_beats_again(log: Path) -> None:
    with watched(log, 8) as child:
        child.tell("r, w = os.pipe(); os.dup2(w, 2); os.set_blocking(2, False)")
        child.tell("try:\n    while True: os.write(2, bytes(4096))\nexcept BlockingIOError: pass")
        child.tell("os.set_blocking(2, True)")
        arm(child)
        child.tell(
            "while switch._timers[0].remaining() > 1.2: time.sleep(0.01)\n"
            "end = time.monotonic() + 2; beat_while(lambda: time.monotonic() < end)"
        )
        assert child.tell("switch.disarm()") is None


def test_a_program_started_without_standard_error_prints_stacks_into_nothing_else(log: Path) -> None:
    program = (
        "import os, sys, time; from leaderlock.deadman import DeadManSwitch\n"
        f"while os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT) < 2: pass\n"
        "DeadManSwitch(1).arm(); time.sleep(60)"
    )
    shell = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program])
    assert shell.returncode == -signal.SIGKILL
    assert log.read_text() == ""


def test_the_stacks_go_where_standard_error_leads_by_then(log: Path) -> None:
    with watched(log, LEASE) as child:
        arm(child)
        child.tell("os.dup2(os.open(argv[0] + '.rotated', os.O_WRONLY | os.O_CREAT), 2)")
        assert child.wait() == -signal.SIGKILL
    assert STACK in log.with_name("stderr.rotated").read_text()
    assert log.read_text() == ""


def test_a_process_without_free_descriptors_prints_its_stacks(log: Path) -> None:
    with watched(log, LEASE) as child:
        arm(child)
        child.tell("resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))")
        assert child.wait() == -signal.SIGKILL
    assert "has not beaten for 80% of its lease" in log.read_text()
    assert STACK in log.read_text()


# Bad input, and systems that cannot do it.


@pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf"), 0.05, 1e10])
def test_a_lease_that_makes_no_sense_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease must be"):
        DeadManSwitch(lease)


def test_the_shortest_and_a_very_long_lease_are_accepted(log: Path) -> None:
    assert DeadManSwitch(SHORTEST_LEASE).lease == SHORTEST_LEASE
    with watched(log, 1e9) as child:
        arm(child)
        assert child.tell("switch._timers[0].remaining()") == pytest.approx(1e9, abs=60)
        child.tell("switch.disarm()")


@pytest.mark.parametrize("wall", ["sys.platform = 'darwin'", "sys.modules['ctypes'] = None"])
def test_a_system_or_a_python_without_it_is_told_to_leave_it_out(wall: str) -> None:
    with Child() as child:
        child.tell("from leaderlock.deadman import DeadManSwitch")
        child.tell(wall)
        with pytest.raises(ChildError, match=r"Unsupported.*lease=.*leave lease= out"):
            child.tell("DeadManSwitch(1)")


@needs_namespaces
def test_pid_1_which_the_kernel_would_not_kill_is_refused() -> None:
    program = (
        "import signal, time\n"
        "from leaderlock.deadman import DeadManSwitch\n"
        "from leaderlock.kernel.timer import Timer\n"
        "Timer(signal.SIGKILL, 0.1).rewind(); time.sleep(0.3); print('alive')\n"
        "DeadManSwitch(1).arm()"
    )
    run = subprocess.run([*IN_NAMESPACE, sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "alive\n"
    assert f"{Unsupported.__name__}: the dead-man switch (lease=) cannot kill PID 1" in run.stderr
    assert "leaderlock init" in run.stderr


def test_a_user_without_any_timers_left_is_told_which_limit_to_raise(log: Path) -> None:
    with watched(log, 1) as child:
        child.tell("resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))")
        for attempt in ("switch.arm()", "DeadManSwitch(1)"):
            with pytest.raises(ChildError, match=r"LeaderLockError: no timer is left.*ulimit -i"):
                child.tell(attempt)
        assert child.tell("switch.beat(), switch.disarm()") == (None, None)


def test_making_it_starts_no_thread_and_takes_no_signal(log: Path) -> None:
    with watched(log, 1) as child:
        assert threads_of(child.pid) == [child.pid]
        status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        assert not any(caught >> (number - 1) & 1 for number in range(50, 56))
