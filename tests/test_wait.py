"""Waiting: without wakeups, and given up without a trace."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.flock import flock
from leaderlock.kernel.wait import Wait
from tests.processes import (
    PATIENCE,
    Child,
    ChildError,
    descriptors_of,
    descriptors_without_garbage,
    flocks_of,
    handling,
    holder,
    settled,
    threads_of,
    until,
    until_parked,
    wakeups_of,
)

PARKED = {
    "the main thread": "LeaderLock(argv[0]).acquire()",
    "the main thread, timed": "LeaderLock(argv[0]).acquire(timeout=300)",
    "a thread": "threading.Thread(target=LeaderLock(argv[0]).acquire, daemon=True).start()",
    "a thread, timed": (
        "threading.Thread(target=lambda: LeaderLock(argv[0]).acquire(timeout=300), daemon=True).start()"
    ),
    "two threads, one at the gate": (
        "lock = LeaderLock(argv[0])\n"
        "for timeout in (-1, 300):\n"
        "    threading.Thread(target=lock.acquire, args=(True, timeout), daemon=True).start()\n"
    ),
    "a coroutine": (
        "import asyncio\n"
        "async def main():\n"
        "    async with LeaderLock(argv[0]):\n"
        "        pass\n"
        "asyncio.run(main())"
    ),
    "a timed coroutine": (
        "import asyncio\n"
        "async def main():\n"
        "    async with LeaderLock(argv[0]):\n"
        "        pass\n"
        "asyncio.run(asyncio.wait_for(main(), 300))"
    ),
    "a standby": "candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)",
    "a standby in the foreground": "leaderlock.Election(argv[0]).run(lambda leadership: None)",
    "a caller of call_once": "leaderlock.call_once(path=argv[0])(lambda: 1)()",
}


def require_no_wakeups(path: Path, waiter: str, seconds: float) -> None:
    with holder(path), Child(path) as child:
        child.begin(waiter)
        until_parked(path, child.pid)
        before = settled(child.pid)
        time.sleep(seconds)
        assert wakeups_of(child.pid) == before


@pytest.mark.parametrize("waiter", PARKED.values(), ids=PARKED)
def test_a_parked_waiter_is_never_woken(path: Path, waiter: str) -> None:
    require_no_wakeups(path, waiter, 2)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("waiter", PARKED.values(), ids=PARKED)
def test_a_parked_waiter_is_never_woken_in_ten_seconds(path: Path, waiter: str) -> None:
    require_no_wakeups(path, waiter, 10)


def test_a_thread_that_polls_would_be_noticed(path: Path) -> None:
    polling = (
        "lock = LeaderLock(argv[0])\n"
        "def poll():\n"
        "    threading.Thread(target=lock.acquire, daemon=True).start()\n"
        "    while True:\n"
        "        time.sleep(0.5)\n"
        "threading.Thread(target=poll, daemon=True).start()"
    )
    with pytest.raises(AssertionError):
        require_no_wakeups(path, polling, 2)


def test_a_timed_wait_ends_in_time_and_not_before(path: Path) -> None:
    with holder(path):
        begin = time.monotonic()
        assert not LeaderLock(path).acquire(timeout=0.3)
        assert 0.3 <= time.monotonic() - begin < 10


def test_a_timed_wait_in_a_finalizer_at_exit_does_not_hang(path: Path) -> None:
    """When modules are torn down, no thread can time a wait any more: the lock is tried once."""
    program = (
        "import os, sys\n"
        "from leaderlock import LeaderLock\n"
        "class Last:\n"
        "    def __del__(self, write=os.write):\n"
        "        write(1, b'%d' % self.lock.acquire(timeout=300))\n"
        "last = Last()\n"
        "last.lock = LeaderLock(sys.argv[1])\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    with holder(path):
        run = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE)
        assert (run.returncode, run.stdout) == (0, b"0")
    run = subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE)
    assert (run.returncode, run.stdout) == (0, b"1")


def test_a_timed_wait_gets_the_lock_when_it_comes_in_time(path: Path) -> None:
    lock = LeaderLock(path)
    with holder(path) as other:

        def release_later() -> None:
            until_parked(path, os.getpid())
            other.tell("lock.release()")

        releasing = threading.Thread(target=release_later)
        releasing.start()
        assert lock.acquire(timeout=120)
        releasing.join()
        lock.check()
        assert lock.term == 2
        lock.release()


def test_the_time_at_the_gate_counts_towards_the_timeout(path: Path) -> None:
    # The first thread waits in the kernel and gives up; the second has by then waited longer at
    # the gate than its own timeout.
    lock = LeaderLock(path)
    with holder(path):
        first = threading.Thread(target=lock.acquire, args=(True, 2))
        first.start()
        until_parked(path, os.getpid())
        begin = time.monotonic()
        assert not lock.acquire(timeout=0.2)
        assert 0.2 <= time.monotonic() - begin < 10
        first.join()
        begin = time.monotonic()
        assert not lock.acquire(timeout=0.1)
        assert time.monotonic() - begin >= 0.1


def test_a_thousand_timed_out_waits_leave_no_more_than_one_did(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell("lock = LeaderLock(argv[0])")
        assert child.tell("lock.acquire(timeout=0.001)") is False
        until(lambda: len(threads_of(child.pid)) == 1, "the timer's thread to end")
        descriptors = descriptors_of(child.pid)
        assert child.tell("[lock.acquire(timeout=0.0005) for _ in range(1000)]") == [False] * 1000
        assert descriptors_of(child.pid) == descriptors
        until(lambda: len(threads_of(child.pid)) == 1, "the timers' threads to end")
        assert flocks_of(path) == [(other.pid, False)]
        other.tell("lock.release()")
        assert flocks_of(path) == []
        assert other.tell("lock.acquire(blocking=False)") is True


def test_timed_out_waits_of_many_threads_at_once_leave_nothing(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell("LeaderLock(argv[0]).acquire(timeout=0.001)")
        child.tell(
            "def wait():\n"
            "    lock = LeaderLock(argv[0])\n"
            "    for _ in range(20):\n"
            "        assert not lock.acquire(timeout=0.002)\n"
            "descriptors = len(os.listdir('/proc/self/fd'))\n"
            "threads = [threading.Thread(target=wait) for _ in range(30)]\n"
            "for thread in threads: thread.start()\n"
            "for thread in threads: thread.join()\n"
        )
        assert child.tell("len(os.listdir('/proc/self/fd')) == descriptors")
        until(lambda: len(threads_of(child.pid)) == 1, "the threads to end")
        assert flocks_of(path) == [(other.pid, False)]


def test_one_that_gave_up_and_was_stopped_cannot_hold_later(path: Path) -> None:
    with holder(path) as other, Child(path) as quitter:
        assert quitter.tell("lock = LeaderLock(argv[0])") is None
        assert quitter.tell("lock.acquire(timeout=0.05)") is False
        quitter.signal(signal.SIGSTOP)
        other.tell("lock.release()")
        assert flocks_of(path) == []
        lock = LeaderLock(path)
        assert lock.acquire(blocking=False)
        lock.release()
        quitter.signal(signal.SIGCONT)
        assert quitter.tell("lock.locked()") is False


def test_a_waiter_that_is_stopped_while_it_gives_up_holds_nobody_up_for_good(path: Path) -> None:
    # SIGSTOP at random instants around the end of the wait. Stopped before the end, it may still be
    # in the queue and be given the lock; it must let go of it once it goes on.
    with Child(path) as quitter, Child(path) as other:
        quitter.tell("lock = LeaderLock(argv[0])")
        other.tell("lock = LeaderLock(argv[0])")
        for _ in range(30):
            other.tell("lock.acquire()")
            quitter.begin("lock.acquire(timeout=0.02)")
            time.sleep(random.uniform(0.015, 0.025))
            quitter.signal(signal.SIGSTOP)
            time.sleep(0.01)
            other.tell("lock.release()")
            quitter.signal(signal.SIGCONT)
            if quitter.answer():  # it got it, and in time by its own clock
                assert (quitter.pid, False) in flocks_of(path)
                quitter.tell("lock.release()")
            assert other.tell("lock.acquire(timeout=30)")
            assert quitter.tell("lock.locked()") is False
            other.tell("lock.release()")


def test_waits_that_end_at_the_moment_of_release_hold_or_do_not_but_never_half(path: Path) -> None:
    # The holder releases at about the instant at which the wait is called off.
    with Child(path) as other:
        other.tell(
            "lock = LeaderLock(argv[0])\n"
            "def hold_for(seconds):\n"
            "    lock.acquire()\n"
            "    os.write(1, b'held\\n')\n"
            "    time.sleep(seconds)\n"
            "    lock.release()\n"
        )
        lock = LeaderLock(path)
        outcomes = []
        for _ in range(200):
            other.begin(f"hold_for({random.uniform(0.001, 0.005)})")
            assert other.line() == "held"
            outcomes.append(lock.acquire(timeout=0.003))
            assert lock.locked() == outcomes[-1]
            if outcomes[-1]:
                lock.check()
                lock.release()
            other.answer()
            assert flocks_of(path) == []
        assert set(outcomes) == {True, False}


def interrupted(path: Path, wait: str) -> None:
    """Ctrl-C in a wait: KeyboardInterrupt comes at once and nothing is left."""
    with holder(path) as other, Child(path) as waiter:
        waiter.tell("lock = LeaderLock(argv[0])")
        waiter.tell("lock.acquire(timeout=0.001)")
        before = descriptors_of(waiter.pid)
        # Many times, since the timer's thread must not take the signal either, not even as it begins.
        for _ in range(100):
            waiter.begin(wait)
            until_parked(path, waiter.pid)
            waiter.signal(signal.SIGINT)
            with pytest.raises(ChildError, match="KeyboardInterrupt"):
                waiter.answer()
            assert waiter.tell("lock.locked()") is False
            assert flocks_of(path) == [(other.pid, False)]
        assert descriptors_of(waiter.pid) == before
        until(lambda: len(threads_of(waiter.pid)) == 1, "the timers to end")
        other.tell("lock.release()")
        assert flocks_of(path) == []
        assert waiter.tell("lock.acquire(blocking=False)") is True


def test_a_keyboard_interrupt_ends_a_wait_without_a_timeout(path: Path) -> None:
    interrupted(path, "lock.acquire()")


def test_a_keyboard_interrupt_ends_a_timed_wait(path: Path) -> None:
    interrupted(path, "lock.acquire(timeout=300)")


def test_a_keyboard_interrupt_at_the_gate_leaves_the_gate_usable(path: Path) -> None:
    for timeout in (-1, 300):
        with Child(path) as child:
            child.tell("lock = LeaderLock(argv[0]); lock.acquire()")
            child.begin(f"lock.acquire(timeout={timeout})")
            # There is nothing in the kernel's table to wait for: the gate is a native lock.
            until(
                lambda pid=child.pid: (
                    "futex" in Path(f"/proc/{pid}/wchan").read_text()  # type: ignore[misc]
                    or Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("202", "98")
                ),
                "the child to wait at the gate",
            )
            child.signal(signal.SIGINT)
            with pytest.raises(ChildError, match="KeyboardInterrupt"):
                child.answer()
            assert child.tell("lock.locked()") is True
            child.tell("lock.release()")
            assert child.tell("lock.acquire(timeout=30)") is True


def test_a_signal_whose_handler_returns_does_not_end_the_wait(path: Path) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.tell("seen = []; signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'seen\\n'))")
        for wait in ("lock.acquire()", "lock.acquire(timeout=300)"):
            waiter.tell("lock = LeaderLock(argv[0])")
            waiter.begin(wait)
            until_parked(path, waiter.pid)
            # One only: a signal that comes as the interpreter goes back into the call is seen when the
            # call ends (so it is with every blocking call in Python).
            waiter.signal(signal.SIGUSR1)
            assert waiter.line() == "seen"
            until_parked(path, waiter.pid)
            other.tell("lock.release()")
            assert waiter.answer() is True
            waiter.tell("lock.release()")
            other.tell("lock.acquire()")


def test_a_signal_handler_may_release_what_the_main_thread_waits_for(path: Path) -> None:
    lock = LeaderLock(path)
    with handling(signal.SIGALRM, lambda *_: lock.release()):
        lock.acquire()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert lock.acquire(timeout=60)
        lock.release()


STORM = """
import random

class Raised(BaseException):
    pass

armed = False

def handler(*_):
    if armed:
        raise Raised

signal.signal(signal.SIGALRM, handler)
lock, other = LeaderLock(argv[0]), LeaderLock(argv[0])
other.acquire(); other.release()
descriptors = len(os.listdir('/proc/self/fd'))
raised = held = 0
while raised < 500:
    try:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1e-4))
            lock.acquire()
            lock.release()
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Raised:
        armed = False
        raised += 1
    if lock.locked():
        held += 1
        assert not other.acquire(blocking=False), 'held and free'
        lock.release()
    assert other.acquire(blocking=False), 'lost in the process'
    other.release()
    assert lock.acquire(blocking=False), 'nobody can enter the gate'
    lock.release()
leaked = len(os.listdir('/proc/self/fd')) - descriptors
"""


def test_a_handler_that_raises_at_any_instant_loses_no_lock(path: Path) -> None:
    with Child(path) as child:
        child.tell(STORM)
        assert child.tell("leaked") == 0


def test_a_wait_that_was_called_off_before_it_began_does_not_begin(path: Path) -> None:
    with holder(path):
        wait = Wait()
        wait.cancel()
        assert not LeaderLock(path)._acquire(None, wait)


def test_calling_off_may_happen_at_any_instant_and_more_than_once(path: Path) -> None:
    lock = LeaderLock(path)
    with holder(path) as other:
        lock.acquire(timeout=0.001)
        before = descriptors_without_garbage()
        for _ in range(200):
            wait = Wait()
            calls = [threading.Timer(random.random() / 500, wait.cancel) for _ in range(2)]
            for call in calls:
                call.start()
            assert not lock._acquire(None, wait)
            for call in calls:
                call.join()
        assert descriptors_of() == before
        assert flocks_of(path) == [(other.pid, False)]


def test_a_handler_may_call_off_what_is_being_called_off(path: Path) -> None:
    # Two SIGTERMs whose handler stops the candidate: the second comes while the first one's stop()
    # begins to call the wait off.
    with holder(path), Child(path) as child:
        child.tell(
            "def second(frame, event, _):\n"
            "    if event == 'call' and frame.f_code.co_name == 'cancel':\n"
            "        sys.setprofile(None)\n"
            "        os.kill(os.getpid(), signal.SIGTERM)\n"
            "stops = []\n"
            "def stop(*_):\n"
            "    stops.append('begun')\n"
            "    if len(stops) == 1:\n"
            "        sys.setprofile(second)\n"
            "    candidate.stop()\n"
            "    stops.append('ended')\n"
            "signal.signal(signal.SIGTERM, stop)\n"
            "candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)\n"
        )
        until_parked(path, child.pid)
        child.begin("None")
        child.signal(signal.SIGTERM)
        child.answer()
        until(lambda: child.tell("candidate.state") == "stopped")
        assert child.tell("stops") == ["begun", "begun", "ended", "ended"]


def test_the_wait_can_be_called_off_where_the_signal_is_blocked(path: Path) -> None:
    # Threads that were started with every signal blocked, as some servers do.
    lock = LeaderLock(path)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with holder(path):
            assert not lock.acquire(timeout=0.1)
            now = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            assert {59, 58, 57, 56} <= {int(number) for number in now}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_program_that_uses_the_signals_itself_keeps_its_handlers(path: Path) -> None:
    with holder(path), Child(path) as child:
        child.tell(
            "seen = []\nfor number in (59, 58): signal.signal(number, lambda n, _: seen.append(n))\n"
        )
        assert child.tell("LeaderLock(argv[0]).acquire(timeout=0.05)") is False
        child.tell("os.kill(os.getpid(), 59); os.kill(os.getpid(), 58)")
        assert child.tell("seen") == [59, 58]


def test_a_program_that_uses_all_of_them_is_told(path: Path) -> None:
    # In the timer's thread: the wait then goes on, rather than ending as if it had the lock.
    with holder(path) as other, Child(path) as child:
        child.tell("for number in (59, 58, 57, 56): signal.signal(number, lambda *_: None)")
        child.begin("LeaderLock(argv[0]).acquire(timeout=0.05)")
        until_parked(path, child.pid)
        other.kill()
        assert child.answer() in (True, False)


class Broken(Exception):
    """Raised by a signal handler."""


def test_a_wait_that_was_broken_off_twice_disturbs_no_later_descriptor_of_its_number(
    path: Path,
) -> None:
    hits: list[int] = []

    def raise_hit(_number: int, _frame: object) -> None:
        hits.append(1)
        raise Broken

    def break_off() -> None:
        until_parked(path, os.getpid())
        with wait._mutex:  # as a canceller that is half way
            assert wait._interrupt is not None
            interrupts.append(wait._interrupt)
            signal.pthread_kill(main, signal.SIGUSR1)
            until(lambda: len(hits) == 1, "the handler to raise")
            signal.pthread_kill(main, signal.SIGUSR1)
            until(lambda: len(hits) == 2, "the handler to raise again")
            until(over.is_set, "the wait to end")

    interrupts: list[Callable[[], object]] = []
    wait, over, main = Wait(), threading.Event(), threading.get_ident()
    waiting = Descriptor(os.fspath(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    number = waiting.fd
    with holder(path), handling(signal.SIGUSR1, raise_hit):
        breaker = threading.Thread(target=break_off)
        breaker.start()
        try:
            with pytest.raises(Broken):
                flock(number, wait)
        finally:
            over.set()
            breaker.join()
    waiting.close()
    later = Descriptor(os.fspath(path), os.O_RDWR | os.O_CLOEXEC)
    assert later.fd == number
    wait.cancel()
    interrupts[0]()  # the canceller goes on
    assert later.is_open()
    later.close()
