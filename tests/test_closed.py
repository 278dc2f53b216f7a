"""A lock whose descriptor other code has closed: its object takes no other descriptor for its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import LeaderLock, NotHeld
from tests.processes import KEEP_WARNINGS, Child, flocks_of, until, until_parked

# Everything is closed, as by a daemoniser, but for 3, by which the answers come.
SETUP = """
def close_all():
    os.closerange(4, 4096)
def refused(call):
    try:
        call()
    except leaderlock.NotHeld as error:
        return "has closed its descriptor" in str(error)
"""

USES = {
    "release": "old.release()",
    "check": "old.check()",
    "term": "old.term",
    "fileno": "old.fileno()",
    "leaving the block": "old.__exit__(None, None, None)",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_object_does_not_take_a_newer_locks_descriptor_for_its_own(path: Path, use: str) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("old = LeaderLock(argv[0]); old.acquire(); number = old.fileno(); close_all()")
        child.tell("new = LeaderLock(argv[0]); new.acquire()")
        assert child.tell("new.fileno() == number")
        record = path.read_bytes()
        assert not child.tell("old.locked()")
        assert child.tell(f"refused(lambda: {use})")
        assert child.tell("new.locked() and new.term") == 2
        assert path.read_bytes() == record
        assert flocks_of(path) == [(child.pid, False)]
        assert not LeaderLock(path).acquire(blocking=False)
        child.tell("new.release()")
        with LeaderLock(path, timeout=0):
            assert flocks_of(path) == [(os.getpid(), False)]


def test_an_object_does_not_take_a_descriptor_of_other_code_for_its_own(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("import fcntl")
        child.tell("old = LeaderLock(argv[0]); old.acquire(); number = old.fileno(); close_all()")
        child.tell("other = os.open(argv[0], os.O_RDWR); fcntl.flock(other, fcntl.LOCK_EX)")
        assert child.tell("other == number")
        record = path.read_bytes()
        assert child.tell("refused(old.release)")
        assert path.read_bytes() == record
        assert flocks_of(path) == [(child.pid, False)]


def test_a_collected_object_leaves_the_newer_locks_descriptor_alone(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("old = LeaderLock(argv[0]); old.acquire(); close_all()")
        child.tell("new = LeaderLock(argv[0]); new.acquire()")
        child.tell("import gc; del old; gc.collect()")
        assert child.tell("new.locked()")
        assert flocks_of(path) == [(child.pid, False)]


def test_an_object_whose_descriptor_was_closed_can_be_acquired_without_a_release(path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    os.close(lock.fileno())
    assert lock.acquire(timeout=60)
    assert lock.term == 2
    lock.release()
    with pytest.raises(NotHeld):
        lock.release()


def test_a_new_descriptor_under_the_number_is_closed_in_a_forked_child(path: Path) -> None:
    with Child(path) as child:
        child.tell(SETUP)
        child.tell("old = LeaderLock(argv[0]); old.acquire(); close_all()")
        child.tell("new = LeaderLock(argv[0]); new.acquire()")
        child.tell("pid = os.fork()\nif pid == 0:\n    time.sleep(1000)")
        forked = child.tell("pid")
        until(lambda: str(path) not in [os.path.realpath(p) for p in descriptors(forked)])
        child.tell("new.release()")
        with LeaderLock(path, timeout=0):
            assert flocks_of(path) == [(os.getpid(), False)]
        child.tell("os.kill(pid, 9)")


def descriptors(pid: int) -> list[str]:
    return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]


LEADER = (
    KEEP_WARNINGS
    + """
terms = []
def task(leadership):
    terms.append(leadership.term)
    print("begins", flush=True)
    HOW
    print("ends", flush=True)
candidate = leaderlock.Election(LOCK, backoff=(0.01, 0.01)).start(task)
"""
)
WAYS = {
    "leadership.wait": "leadership.wait(1000)",
    "every": "any(False for _ in leadership.every(1000))",
    "stopping.wait": "leadership.stopping.wait()",
}
CLOSINGS = {
    "all descriptors": "os.closerange(4, 4096)",
    "the lock's alone": "os.close(candidate._tenure.lock.fileno())",
}


@pytest.mark.parametrize("closing", CLOSINGS.values(), ids=CLOSINGS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("lock", ["argv[0]", "LeaderLock.anonymous()"], ids=["path", "anonymous"])
def test_a_leader_learns_at_once_that_its_descriptor_was_closed_and_stands_again(
    path: Path, lock: str, way: str, closing: str
) -> None:
    with Child(path) as leader:
        leader.tell(LEADER.replace("LOCK", lock).replace("HOW", way))
        assert leader.line() == "begins"
        if lock == "LeaderLock.anonymous()" and closing != CLOSINGS["the lock's alone"]:
            # The memory file itself is gone then, for good.
            leader.tell(closing)
            assert leader.line() == "ends"
            return
        leader.tell(closing)
        assert leader.line() == "ends"
        assert leader.line() == "begins"
        assert leader.tell("terms") == [1, 2]
        [said] = leader.tell("messages")
        assert "leadership lost" in said
        assert "has closed its descriptor" in said


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_leader_whose_look_out_is_closed_before_its_lock_learns_of_the_second_too(
    path: Path, way: str
) -> None:
    with Child(path) as leader:
        leader.tell(LEADER.replace("LOCK", "argv[0]").replace("HOW", way))
        assert leader.line() == "begins"
        until(lambda: leader.tell("candidate._leadership._watch._has_looked"))
        leader.tell("lookout = candidate._leadership._watch; watch = lookout._watch")
        # A chmod wakes it; it finds its own descriptors closed and the lock open.
        leader.tell("os.close(watch.fileno()); os.close(lookout._bell.fd); os.chmod(argv[0], 0o640)")
        until(lambda: leader.tell("lookout._watch is not watch and lookout._bell.fd >= 0"))
        assert leader.tell("candidate.is_leader")
        leader.tell("os.close(candidate._tenure.lock.fileno())")
        assert leader.line() == "ends"
        assert leader.line() == "begins"
        assert leader.tell("terms") == [1, 2]


def test_a_leader_that_has_taken_over_learns_it_while_it_waits(path: Path) -> None:
    with Child(path) as before, Child(path) as leader:
        before.tell("lock = LeaderLock(argv[0]); lock.acquire()")
        leader.tell(LEADER.replace("LOCK", "argv[0]").replace("HOW", "leadership.wait(1000)"))
        until_parked(path, leader.pid)
        time.sleep(0.05)  # or it would be taken for one that has not waited
        before.tell("lock.release()")
        assert leader.line() == "begins"
        leader.tell("os.closerange(4, 4096)")
        assert leader.line() == "ends"
        assert leader.line() == "begins"
        assert leader.tell("terms") == [2, 3]


def test_a_leader_whose_task_has_returned_learns_it_and_lets_the_others_go_on(path: Path) -> None:
    with Child(path) as leader, Child(path) as standby:
        leader.tell(LEADER.replace("LOCK", "argv[0]").replace("HOW", "pass"))
        assert leader.line() == "begins"
        assert leader.line() == "ends"
        until(lambda: leader.tell("candidate._leadership._watch is not None"))
        standby.tell("lock = LeaderLock(argv[0])")
        standby.begin("lock.acquire()")
        until_parked(path, standby.pid)
        leader.tell("os.closerange(4, 4096)")
        assert standby.answer()
        until(lambda: leader.tell("candidate.state") == "resigned")
        [said] = leader.tell("messages")
        assert "has closed its descriptor" in said
        assert flocks_of(path) == [(standby.pid, False)]


def test_what_a_lost_look_out_leaves_closes_no_descriptor_of_others(path: Path) -> None:
    with Child(path) as leader:
        leader.tell(LEADER.replace("LOCK", "argv[0]").replace("HOW", "leadership.stopping.wait()"))
        assert leader.line() == "begins"
        leader.tell("os.closerange(4, 4096); pipes = [os.pipe() for _ in range(20)]")
        assert leader.line() == "ends"
        assert leader.line() == "begins"
        assert leader.tell("all(os.fstat(fd) for pair in pipes for fd in pair)") is True


CHECKS: list[Callable[[LeaderLock], object]] = [
    lambda lock: lock.term,
    lambda lock: lock.check(),
    lambda lock: lock.fileno(),
]


@pytest.mark.parametrize("check", CHECKS, ids=["term", "check", "fileno"])
def test_a_closed_descriptor_is_told_by_whatever_needs_it(
    path: Path, check: Callable[[LeaderLock], object]
) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    os.close(lock.fileno())
    with pytest.raises(NotHeld, match="has closed its descriptor"):
        check(lock)
    assert not lock.locked()


def test_a_candidate_stands_on_if_its_descriptor_is_closed_while_it_is_moved_up(path: Path) -> None:
    with Child(path) as child:
        child.tell(KEEP_WARNINGS)
        # os.closerange in another thread, between the two system calls of `Descriptor.move_up`.
        child.tell("""
import fcntl, types
from leaderlock.kernel import descriptors
closed = []
def duplicate(fd, command, *arguments):
    result = fcntl.fcntl(fd, command, *arguments)
    if command == fcntl.F_DUPFD_CLOEXEC and not closed:
        closed.append(fd)
        os.close(fd)
    return result
descriptors.fcntl = types.SimpleNamespace(**{**vars(fcntl), "fcntl": duplicate})
""")
        child.tell("candidate = leaderlock.Election(argv[0]).start(lambda led: led.stopping.wait())")
        assert child.tell("candidate.wait(60)")
        assert child.tell("len(closed)") == 1
        assert child.tell("messages") == []
        child.tell("candidate.stop()")


def test_an_unexpected_error_of_a_system_call_does_not_end_a_candidate_in_the_background(
    path: Path,
) -> None:
    with Child(path) as child:
        child.tell(KEEP_WARNINGS)
        child.tell("""
from leaderlock.lock.acquisition import Hold
take = Hold.take
failures = []
def fail_once(self, *arguments):
    if not failures:
        failures.append(1)
        raise OSError(5, "Input/output error")
    return take(self, *arguments)
Hold.take = fail_once
""")
        child.tell("election = leaderlock.Election(argv[0], backoff=(0.01, 0.01))")
        child.tell("candidate = election.start(lambda led: led.stopping.wait())")
        assert child.tell("candidate.wait(60)")
        assert child.tell("messages") == [f"cannot stand for election by {path}"]
        child.tell("candidate.stop()")
