"""`leaderlock.interop.Lock` and `RLock`, and portalocker's own: each test runs with both."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from pathlib import Path
from typing import IO, Any, TypeAlias

import portalocker
import pytest
from portalocker import portalocker as primitives

from leaderlock import LeaderLock
from leaderlock.interop import Lock, RLock
from tests.interop.waiting import after, at_rest
from tests.processes import (
    Child,
    ChildError,
    flocks_of,
    handling,
    until,
    until_parked,
    wakeups_of,
)

Locks: TypeAlias = type[portalocker.Lock[Any]]
EXCLUSIVE = portalocker.LockFlags.EXCLUSIVE
SHARED = portalocker.LockFlags.SHARED
NON_BLOCKING = portalocker.LockFlags.NON_BLOCKING

both = pytest.mark.parametrize("locks", [portalocker.Lock, Lock], ids=["original", "ours"])
both_and_reentrant = pytest.mark.parametrize(
    "locks",
    [portalocker.Lock, Lock, portalocker.RLock, RLock],
    ids=["original", "ours", "original-RLock", "our-RLock"],
)
reentrant = pytest.mark.parametrize("locks", [portalocker.RLock, RLock], ids=["original", "ours"])


def holds(path: Path) -> bool:
    return (os.getpid(), False) in flocks_of(path)


def test_they_are_of_theirs(path: Path) -> None:
    assert isinstance(Lock(path), portalocker.Lock)
    assert isinstance(RLock(path), portalocker.RLock)
    assert isinstance(RLock(path), Lock)


@both_and_reentrant
def test_it_gives_the_open_file(locks: Locks, path: Path) -> None:
    lock = locks(path, "w")
    with lock as file:
        assert file is lock.fh
        assert holds(path)
        file.write("x")
        file.seek(0)
        file.write("y")
    assert path.read_text() == "y"
    assert file.closed
    assert lock.fh is None
    assert not holds(path)
    with locks(path, "rb") as binary:
        assert binary.read() == b"y"


@both
def test_a_second_acquire_gives_the_same_file_and_one_release_is_enough(
    locks: Locks, path: Path
) -> None:
    lock = locks(path)
    file = lock.acquire()
    assert lock.acquire() is file
    lock.release()
    assert file.closed
    lock.release()  # does nothing


@reentrant
def test_it_counts_how_often_it_was_acquired(locks: Locks, path: Path) -> None:
    lock = locks(path)
    with lock as file, lock as again:
        assert file is again
        lock.acquire()
        lock.release()
        assert holds(path)
    assert not holds(path)
    with pytest.raises(portalocker.LockException, match="more times than acquired"):
        lock.release()


@both_and_reentrant
@pytest.mark.parametrize("timeout", [0, 0.2])
def test_a_timeout(locks: Locks, path: Path, held: Child, timeout: float) -> None:
    lock = locks(path, timeout=timeout)
    begin = time.monotonic()
    with pytest.raises(portalocker.AlreadyLocked) as raised:
        lock.acquire()
    assert time.monotonic() - begin >= timeout
    assert isinstance(raised.value, portalocker.LockException)
    assert isinstance(raised.value.args[0], BlockingIOError)
    assert lock.fh is None
    held.kill()
    with lock:
        assert holds(path)


@both
def test_the_timeout_of_a_call_comes_before_the_objects(locks: Locks, path: Path, held: Child) -> None:
    with pytest.raises(portalocker.AlreadyLocked):
        locks(path, timeout=3600).acquire(timeout=0.1, check_interval=0.01)


@both_and_reentrant
def test_no_wait_if_it_is_to_fail_when_locked(locks: Locks, path: Path, held: Child) -> None:
    with pytest.raises(portalocker.AlreadyLocked):
        locks(path, timeout=3600).acquire(fail_when_locked=True)
    with pytest.raises(portalocker.AlreadyLocked):
        locks(path, timeout=3600, fail_when_locked=True).acquire()


@both_and_reentrant
@pytest.mark.parametrize("timeout", [60, 1e300])
def test_a_waiter_is_next_when_the_holder_is_killed(
    locks: Locks, path: Path, held: Child, timeout: float
) -> None:
    lock = locks(path, "w", timeout=timeout, check_interval=0.05)
    with after(0.2, lambda: held.signal(signal.SIGKILL)), lock as file:
        assert holds(path)
        file.write("mine")
    assert path.read_text() == "mine"


@both
def test_what_another_one_holds_is_not_truncated(locks: Locks, path: Path, held: Child) -> None:
    path.write_text("theirs")
    with pytest.raises(portalocker.AlreadyLocked):
        locks(path, "w", timeout=0.1).acquire()
    assert path.read_text() == "theirs"


@both
def test_shared_locks_wait_as_in_the_original(locks: Locks, path: Path, held: Child) -> None:
    shared = SHARED | NON_BLOCKING
    with pytest.raises(portalocker.AlreadyLocked):
        locks(path, timeout=0.1, flags=shared).acquire()
    held.kill()
    first, second = (locks(path, timeout=60, flags=shared) for _ in range(2))
    with first, second, pytest.raises(portalocker.AlreadyLocked):
        locks(path, timeout=0.1).acquire()
    assert not holds(path)


@both
def test_a_shared_lock_does_not_wait_for_other_shared_ones(locks: Locks, path: Path) -> None:
    with Child(path) as child:
        child.tell("import fcntl; file = open(argv[0], 'a'); fcntl.flock(file, fcntl.LOCK_EX)")
        share = after(0.2, lambda: child.begin("fcntl.flock(file, fcntl.LOCK_SH)"))
        with share, locks(path, timeout=30, flags=SHARED | NON_BLOCKING):
            child.answer()
            assert len(flocks_of(path)) == 2


@both
def test_blocking_flags_block_and_a_timeout_with_them_is_warned_of(
    locks: Locks, path: Path, held: Child
) -> None:
    with pytest.warns(UserWarning, match="timeout has no effect") as warned:
        lock = locks(path, timeout=1, flags=EXCLUSIVE)
    assert warned[0].filename == __file__
    with after(0.2, lambda: held.signal(signal.SIGKILL)), lock:
        assert holds(path)


@both
def test_another_primitive_is_used_as_in_the_original(
    locks: Locks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(primitives, "LOCKER", fcntl.lockf)
    with Child(path) as child:
        child.tell("import fcntl; file = open(argv[0], 'a'); fcntl.lockf(file, fcntl.LOCK_EX)")
        with pytest.raises(portalocker.AlreadyLocked):
            locks(path, timeout=0.2).acquire()
        with after(0.2, lambda: child.signal(signal.SIGKILL)), locks(path, timeout=60):
            assert flocks_of(path) == []


@both
def test_a_subclass_that_locks_in_its_own_way_tries_as_often_as_with_the_original(
    locks: Locks, path: Path
) -> None:
    tries: list[IO[Any]] = []

    class Own(locks):  # type: ignore[misc, valid-type]
        def _get_lock(self, fh: IO[Any]) -> IO[Any]:
            tries.append(fh)
            if len(tries) < 4:
                raise portalocker.AlreadyLocked
            return fh

    Own(path, timeout=60, check_interval=0.01).acquire().close()
    assert len(tries) == 4


@both
def test_ctrl_c_ends_the_wait(locks: Locks, path: Path, held: Child) -> None:
    lock = locks(path, timeout=60)
    interrupt = after(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    with (
        handling(signal.SIGINT, signal.default_int_handler),
        interrupt,
        pytest.raises(KeyboardInterrupt),
    ):
        lock.acquire()
    assert lock.fh is None
    assert [pid for pid, _ in flocks_of(path)] == [held.pid]


@both
def test_a_file_that_cannot_be_opened_is_an_error_of_the_system(locks: Locks, path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        locks(path / "in" / "nothing").acquire()
    path.touch()
    with pytest.raises(FileExistsError):
        locks(path, "x").acquire()


@both
@pytest.mark.parametrize("other", ["portalocker", "ours", "LeaderLock"])
def test_it_excludes_each_kind_and_they_exclude_it(locks: Locks, path: Path, other: str) -> None:
    make = {
        "portalocker": "import portalocker; lock = portalocker.Lock(argv[0], timeout=60)",
        "ours": "from leaderlock.interop import Lock; lock = Lock(argv[0], timeout=60)",
        "LeaderLock": "lock = LeaderLock(argv[0])",
    }
    lock = locks(path)
    with Child(path) as child:
        child.tell(make[other])
        with lock:
            if other == "LeaderLock":
                assert child.tell("lock.acquire(blocking=False)") is False
            else:
                with pytest.raises(ChildError, match="AlreadyLocked"):
                    child.tell("lock.acquire(fail_when_locked=True)")
            child.begin("lock.acquire() and None")
            assert child.is_silent(0.2)
        child.answer()
        with pytest.raises(portalocker.AlreadyLocked):
            lock.acquire(0.1)
        child.tell("lock.release()")
        with lock:
            assert holds(path)


@both
def test_the_term_goes_on_over_it(locks: Locks, path: Path) -> None:
    lock = LeaderLock(path)
    for term in (1, 2, 3):
        with lock:
            assert lock.term == term
        with locks(path):
            pass


# What is ours alone.

WAIT = """
import leaderlock.interop, portalocker
lock = {}(argv[0], timeout=60)
lock.acquire()
"""


def test_threads_may_wait_by_one_object(path: Path, held: Child) -> None:
    # The original calls this unsupported; a time-out of one must not end the wait of another.
    lock: Lock[IO[str]] = Lock(path)
    outcomes: list[str] = []

    def work(timeout: float) -> None:
        try:
            lock.acquire(timeout)
            outcomes.append("held")
        except portalocker.AlreadyLocked:
            outcomes.append("timed out")

    patient = threading.Thread(target=work, args=(60,))
    patient.start()
    until_parked(path, os.getpid())
    work(0.1)
    assert outcomes == ["timed out"]
    held.kill()
    patient.join()
    assert outcomes == ["timed out", "held"]
    lock.release()


@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_waiter_costs_no_wakeups(path: Path, held: Child, kind: str) -> None:
    with Child(path) as ours, Child(path) as original:
        ours.begin(WAIT.format(f"leaderlock.interop.{kind}"))
        original.begin(WAIT.format(f"portalocker.{kind}"))
        until_parked(path, ours.pid)
        until(lambda: at_rest(ours), "its threads to come to rest")
        before = wakeups_of(ours.pid)
        polls = sum(wakeups_of(original.pid).values())
        until(lambda: sum(wakeups_of(original.pid).values()) > polls + 2, "the original to poll")
        assert ours.is_silent(0.3)
        assert wakeups_of(ours.pid) == before


def test_waiters_are_served_in_their_order(path: Path, held: Child) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(path)) for _ in range(3)]
        for child in children:
            child.begin(WAIT.format("leaderlock.interop.Lock"))
            until_parked(path, child.pid)
        held.kill()
        for child in children:
            child.answer()
            assert flocks_of(path)[0] == (child.pid, False)
            child.tell("lock.release()")
