"""Forks: by Python, by C behind Python's back, from threads, with the parent killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from leaderlock import Election, LeaderLock, Leadership, LeadershipLost, NotHeld, current_leadership
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    flocks,
    flocks_of,
    forked,
    holder,
    until,
    until_parked,
)

# libc's fork, called as a C program would: none of Python's at-fork handlers run.
FORKS = {
    "by Python": "fork = os.fork",
    "by C": "import ctypes; fork = ctypes.PyDLL(None).fork",
}
forks = pytest.mark.parametrize("fork", FORKS.values(), ids=FORKS)

# Forks a child that does as it is told through a pipe and answers through another one.
GRANDCHILD = """
def start(fork):
    global down, up, pid
    down, up = os.pipe(), os.pipe()
    pid = fork()
    if pid == 0:
        os.close(down[1])
        while True:
            source = os.read(down[0], 65536).decode()
            if not source:  # the parent has gone: live on
                signal.pause()
            try:
                answer = eval(source, globals())
            except BaseException as error:
                answer = f'{type(error).__name__}: {error}'
            os.write(up[1], repr(answer).encode())

# A thread that waits for the GIL while C forks leaves the child a GIL that hangs at some later use. So
# the main thread must be in a read of its standard input first, where it needs no GIL.
def fork_beside_a_reader(fork):
    while True:
        with open(f'/proc/self/task/{os.getpid()}/syscall') as doing:
            if doing.read().split()[1:2] == ['0x0']:
                break
    start(fork)
    os.write(1, b'forked\\n')

def ask(source):
    os.write(down[1], source.encode())
    return os.read(up[0], 65536).decode()
"""


def parent_that_holds(path: Path, fork: str) -> Child:
    child = holder(path)
    child.tell(fork)
    child.tell(GRANDCHILD)
    child.tell("start(fork)")
    return child


@forks
def test_a_forked_child_does_not_hold_and_its_release_unlocks_nothing(path: Path, fork: str) -> None:
    with parent_that_holds(path, fork) as parent:
        assert parent.tell("ask('lock.locked()')") == "False"
        assert "NotHeld" in parent.tell("ask('lock.release()')")
        assert str(path) in parent.tell("ask('lock.release()')")
        assert "NotHeld" in parent.tell("ask('lock.term')")
        assert "NotHeld" in parent.tell("ask('lock.check()')")
        assert "NotHeld" in parent.tell("ask('lock.fileno()')")
        assert parent.tell("lock.locked()") is True
        assert flocks_of(path) == [(parent.pid, False)]
        assert not LeaderLock(path).acquire(blocking=False)
        parent.tell("lock.check(); lock.release()")


@forks
def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent_alive(path: Path, fork: str) -> None:
    lock = LeaderLock(path)
    with parent_that_holds(path, fork) as parent:
        # Without at-fork handlers the first use in the child lets go.
        assert parent.tell("ask('lock.acquire(blocking=False)')") == "False"
        grandchild = parent.tell("pid")
        parent.kill()
        try:
            assert lock.acquire(timeout=30)
            os.kill(grandchild, 0)  # it lives
            assert lock.term == 2
            lock.release()
        finally:
            os.kill(grandchild, signal.SIGKILL)


@forks
def test_a_lock_that_is_made_in_the_child_lets_go_of_the_parents_too(path: Path, fork: str) -> None:
    lock = LeaderLock(path)
    with parent_that_holds(path, fork) as parent:
        assert parent.tell("ask('LeaderLock(argv[0]).acquire(blocking=False)')") == "False"
        grandchild = parent.tell("pid")
        parent.kill()
        try:
            assert lock.acquire(timeout=30)
            lock.release()
        finally:
            os.kill(grandchild, signal.SIGKILL)


@forks
def test_the_child_can_wait_for_the_lock_with_the_same_object(path: Path, fork: str) -> None:
    with parent_that_holds(path, fork) as parent:
        grandchild = parent.tell("pid")
        parent.tell("os.write(down[1], b'lock.acquire() and lock.term')")
        until_parked(path, grandchild)
        parent.tell("lock.release()")
        assert parent.tell("os.read(up[0], 100)") == b"2"
        assert flocks_of(path) == [(grandchild, False)]
        assert parent.tell("lock.acquire(timeout=0.05)") is False
        assert parent.tell("ask('lock.release()')") == "None"
        assert parent.tell("lock.acquire(timeout=30)") is True


def test_only_the_first_use_in_a_child_that_c_forked_closes_the_descriptor(path: Path) -> None:
    # The tests above would prove nothing if the forks were both Python's.
    with parent_that_holds(path, FORKS["by C"]) as parent:
        grandchild = parent.tell("pid")
        assert str(path) in descriptors_of(grandchild)
        parent.tell("ask('lock.acquire(blocking=False)')")
        assert str(path) not in descriptors_of(grandchild)


def test_a_child_that_python_forked_has_no_descriptor_of_the_lock_at_all(path: Path) -> None:
    with parent_that_holds(path, FORKS["by Python"]) as parent:
        assert parent.tell("ask('1')") == "1"
        assert str(path) not in descriptors_of(parent.tell("pid"))


@forks
def test_a_fork_while_another_thread_waits_leaves_both_processes_sound(path: Path, fork: str) -> None:
    with holder(path) as other, Child(path) as parent:
        parent.tell(fork)
        parent.tell(GRANDCHILD)
        parent.tell(
            "lock = LeaderLock(argv[0])\n"
            "waiter = threading.Thread(target=lock.acquire, kwargs={'timeout': 300})\n"
            "second = threading.Thread(target=lock.acquire, daemon=True)\n"  # at the gate
            "waiter.start(); second.start()\n"
        )
        until_parked(path, parent.pid)
        parent.tell("threading.Thread(target=fork_beside_a_reader, args=(fork,)).start()")
        assert parent.line() == "forked"
        assert parent.tell("ask('lock.acquire(timeout=0.05)')") == "False"
        other.tell("lock.release()")
        parent.tell("waiter.join()")
        assert flocks_of(path) == [(parent.pid, False)]
        assert parent.tell("ask('lock.acquire(timeout=0.05)')") == "False"
        grandchild = parent.tell("pid")
        try:
            parent.kill()
            assert other.tell("lock.acquire(timeout=30)") is True
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_children_forked_while_threads_lock_and_unlock_can_lock_too(path: Path) -> None:
    # A mutex that some other thread held at the moment of the fork would hang the child. (A fork by C
    # beside running threads would hang it in the interpreter's own.)
    with Child(path, path.with_name("other.lock")) as parent:
        parent.tell(
            "locks = [LeaderLock(argv[0]), LeaderLock(argv[1])]\n"
            "going = True\n"
            "def work():\n"
            "    while going:\n"
            "        for lock in locks:\n"
            "            if lock.acquire(timeout=0.01):\n"
            "                lock.release()\n"
            "threads = [threading.Thread(target=work) for _ in range(4)]\n"
            "for thread in threads: thread.start()\n"
            "statuses = []\n"
            "for _ in range(100):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        signal.alarm(60)\n"
            "        ok = [lock.acquire(timeout=50) for lock in (*locks, LeaderLock(argv[0] + '2'))]\n"
            "        os._exit(0 if all(ok) else 1)\n"
            "    statuses.append(os.waitpid(pid, 0)[1])\n"
            "going = False\n"
            "for thread in threads: thread.join()\n"
        )
        assert parent.tell("set(statuses)") == {0}
        parent.tell("for lock in locks: lock.acquire(timeout=30); lock.release()")


def test_a_child_forked_inside_a_with_block_does_not_release_at_its_end(path: Path) -> None:
    lock = LeaderLock(path)

    def child() -> bool:
        try:
            lock.__exit__(None, None, None)
        except NotHeld:
            return True
        return False

    with lock:
        assert forked(child) == 0
        lock.check()
        assert flocks_of(path) == [(os.getpid(), False)]


def test_an_object_that_is_collected_in_the_child_releases_nothing(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:

        def child() -> bool:
            nonlocal lock
            lock = LeaderLock(path)  # the last reference to the parent's goes
            return not lock.locked()

        assert forked(child) == 0
        assert flocks_of(path) == [(os.getpid(), False)]


def test_an_anonymous_lock_excludes_the_forked_processes_from_each_other() -> None:
    lock = LeaderLock.anonymous()
    lock.acquire()
    assert forked(lambda: not lock.acquire(blocking=False)) == 0
    assert forked(lambda: not lock.acquire(timeout=0.05)) == 0
    assert lock.term == 1
    lock.release()
    assert forked(lambda: lock.acquire(blocking=False) and lock.term == 2) == 0
    # The child has ended without releasing it.
    assert lock.acquire(timeout=30)
    assert lock.term == 3
    lock.release()


def test_an_anonymous_lock_passes_from_a_killed_child_to_its_sibling() -> None:
    with Child() as parent:
        parent.tell(
            "lock = LeaderLock.anonymous(name='x')\n"
            "def hold(pipe):\n"
            "    pid = os.fork()\n"
            "    if pid == 0:\n"
            "        lock.acquire()\n"
            "        os.write(pipe, b'%d' % lock.term)\n"
            "        signal.pause()\n"
            "    return pid\n"
            "read, write = os.pipe()\n"
            "first = hold(write)\n"
        )
        assert parent.tell("os.read(read, 9)") == b"1"
        second = parent.tell("second = hold(write)") or parent.tell("second")
        inode = parent.tell("os.fstat(lock._file._descriptor.fd).st_ino")
        until(lambda: (second, True) in flocks(f":{inode}"), "the second child to wait")
        parent.tell("os.kill(first, signal.SIGKILL)")
        assert parent.tell("os.read(read, 9)") == b"2"
        assert parent.tell("lock.holder().pid") == second
        parent.tell("os.kill(second, signal.SIGKILL)")


def test_the_term_goes_on_in_a_child_and_comes_back_greater(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        assert lock.term == 1
    assert forked(lambda: lock.acquire() and lock.term == 2) == 0
    with lock:
        assert lock.term == 3


def test_a_candidate_in_a_forked_child_is_stopped_and_leads_nothing(path: Path) -> None:
    entered = threading.Event()
    seen = []

    def task(leadership: Leadership) -> None:
        seen.append(leadership)
        entered.set()
        leadership.stopping.wait()

    candidate = Election(path).start(task)
    assert candidate.wait(60)
    assert entered.wait(60)

    def child() -> bool:
        with pytest.raises(LeadershipLost, match="forked child"):
            seen[0].check()
        return (
            candidate.state == "stopped"
            and not candidate.is_leader
            and candidate.wait(5) is False
            and candidate.stop() is True
            and current_leadership() is None
        )

    try:
        assert forked(child) == 0
        assert candidate.is_leader
    finally:
        assert candidate.stop(60)


@forks
def test_waiting_for_a_candidate_of_the_parent_ends_at_once_in_the_child(path: Path, fork: str) -> None:
    with holder(path), Child(path) as parent:
        parent.tell(fork)
        parent.tell(GRANDCHILD)
        parent.tell("candidate = leaderlock.Election(argv[0]).start(lambda leadership: None)")
        until_parked(path, parent.pid)
        parent.tell("start(fork)")
        assert parent.tell("ask('candidate.wait()')") == "False"
        assert parent.tell("ask('candidate.state')") == "'stopped'"


def states_of_threads(pid: int) -> list[str]:
    stats = Path(f"/proc/{pid}/task").glob("*/stat")
    try:
        return [stat.read_text(encoding="ascii").rpartition(") ")[2][0] for stat in stats]
    except FileNotFoundError:  # a thread has ended meanwhile
        return []


@forks
def test_a_child_of_a_leader_can_campaign_and_leads_when_the_leader_is_killed(
    path: Path, fork: str
) -> None:
    with Child(path) as parent:
        parent.tell(fork)
        parent.tell(GRANDCHILD)
        parent.tell(
            "election = leaderlock.Election(argv[0])\n"
            "candidate = election.start(lambda leadership: leadership.stopping.wait())\n"
            "assert candidate.wait(60)"
        )
        # A thread that is half way in an import or in a log line would leave its locks to the child.
        until(lambda: states_of_threads(parent.pid) == ["S", "S", "S"], "the look-out, and then quiet")
        parent.tell("start(fork)")
        grandchild = parent.tell("pid")
        try:
            assert parent.tell("ask('leaderlock.current_leadership()')") == "None"
            parent.tell("ask('globals().update(mine=election.start(lambda leadership: None))')")
            until_parked(path, grandchild)
            assert parent.tell("ask('mine.state')") == "'standby'"
            parent.kill()
            until(lambda: flocks_of(path) == [(grandchild, False)], "the child to lead")
        finally:
            os.kill(grandchild, signal.SIGKILL)


def test_a_child_forked_while_a_candidate_starts_can_campaign_itself(
    path: Path,
) -> None:
    # The background thread imported what it needed, and the child had half of it.
    for delay in (0, 0.0003, 0.001, 0.002, 0.003, 0.004, 0.006):
        with Child(path) as parent:
            parent.tell(FORKS["by Python"])
            parent.tell(GRANDCHILD)
            parent.tell("election = leaderlock.Election(argv[0])")
            parent.tell(
                "candidate = election.start(lambda leadership: leadership.stopping.wait())\n"
                f"time.sleep({delay})\n"
                "start(fork)"
            )
            parent.tell("ask('globals().update(mine=election.start(lambda leadership: None))')")
            grandchild = parent.tell("pid")
            until(lambda: grandchild in dict(flocks_of(path)), "the child to stand for election")  # noqa: B023
            parent.kill()
            until(lambda: (grandchild, False) in flocks_of(path), "the child to lead")  # noqa: B023


def test_nothing_wrong_was_told_without_anybody_noticing(path: Path) -> None:
    with Child(path) as child, pytest.raises(ChildError, match="ZeroDivisionError"):
        child.tell("1 / 0")


FORKS_WHILE_IT_STANDS = """
election = leaderlock.Election(argv[0])
candidate = election.start(lambda leadership: leadership.stopping.wait())
def fork_and_ask(make):
    process = make()
    process.start()
    process.join(60)
    return process.exitcode
def answer():
    os._exit(0 if candidate.state == 'stopped' and not candidate.wait() and candidate.stop() else 1)
class Forked:
    def start(self):
        self.pid = os.fork() or answer()
    def join(self, _):
        self.exitcode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
"""
WAYS = {
    "os.fork": "Forked",
    "multiprocessing": (
        "lambda: __import__('multiprocessing').get_context('fork').Process(target=answer)"
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_program_that_forks_while_it_stands_is_told_once_what_to_write(path: Path, way: str) -> None:
    with Child(path) as child:
        child.tell("import logging, io; logging.basicConfig(stream=(said := io.StringIO()))")
        child.tell(FORKS_WHILE_IT_STANDS)
        assert child.tell("candidate.wait(60)") is True
        child.tell("import subprocess; subprocess.run(['true'], preexec_fn=lambda: None)")
        assert child.tell("said.getvalue()") == ""
        for _ in range(2):
            assert child.tell(f"fork_and_ask({way})") == 0
        [line] = child.tell("said.getvalue()").splitlines()
        assert f"process {child.pid} forks while it stands for {path}" in line
        assert "start its candidate in it, after the fork" in line
        assert child.tell("candidate.is_leader") is True


def test_a_task_may_fork_without_a_word(path: Path) -> None:
    with Child(path) as child:
        child.tell("import logging, io; logging.basicConfig(stream=(said := io.StringIO()))")
        child.tell("import threading; done = threading.Event()")
        child.tell(
            "def task(leadership):\n"
            "    pid = os.fork() or os._exit(0)\n"
            "    os.waitpid(pid, 0)\n"
            "    done.set()\n"
        )
        child.tell("candidate = leaderlock.Election(argv[0]).start(task)")
        assert child.tell("done.wait(60)") is True
        assert child.tell("said.getvalue()") == ""


@forks
def test_a_fork_while_another_thread_is_in_the_gate_does_not_shut_the_childs_gate(
    path: Path, fork: str
) -> None:
    with Child(path) as parent:
        parent.tell("lock = LeaderLock(argv[0])")
        parent.tell(
            "entered = threading.Event()\n"
            "def stay():\n"
            "    with lock._gate.mutex:\n"
            "        entered.set()\n"
            "        time.sleep(3600)\n"
            "threading.Thread(target=stay, daemon=True).start()\n"
            "entered.wait()"
        )
        parent.tell(fork)
        parent.tell(GRANDCHILD)
        parent.tell("start(fork)")
        assert parent.tell("ask('lock.acquire(timeout=60)')") == "True"
        assert parent.tell("ask('lock.release()')") == "None"
        parent.tell("os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)")


@forks
def test_a_child_forked_from_a_holder_gets_a_gate_of_its_own(path: Path, fork: str) -> None:
    with parent_that_holds(path, fork) as parent:
        assert parent.tell("ask('lock.acquire(blocking=False)')") == "False"
        parent.tell("lock.release()")
        assert parent.tell("ask('lock.acquire(timeout=60)')") == "True"
        assert parent.tell("lock.acquire(blocking=False)") is False
        parent.tell("os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)")
