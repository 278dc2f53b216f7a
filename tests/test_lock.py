"""`LeaderLock` in one process: as `threading.Lock` behaves, and what it adds to that."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
import weakref
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaderLock, LeaderLockError, LockFileReplaced, LockTimeout, NotHeld
from tests.processes import Child, descriptors_of, descriptors_without_garbage, holder, until_parked

LockTests = pytest.importorskip(
    "test.lock_tests", reason="this Python came without its tests"
).LockTests


# Some of these tests leave a lock held.
let_go = pytest.mark.filterwarnings("ignore:.*was never released:ResourceWarning")


@let_go
class OnAPath(LockTests):  # type: ignore[misc, valid-type]
    """CPython's own tests of `threading.Lock`, each on a lock file of its own."""

    def setUp(self) -> None:
        super().setUp()
        self._directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self._directory)

    def locktype(self) -> LeaderLock:
        return LeaderLock(os.path.join(self._directory, "leader.lock"))

    test_at_fork_reinit = None  # of a private method, which only the standard library calls


@let_go
class Anonymous(LockTests):  # type: ignore[misc, valid-type]
    """The same on locks without a path."""

    locktype = staticmethod(LeaderLock.anonymous)

    test_at_fork_reinit = None


# Else pytest would collect the base class too, with no lock type.
del LockTests


def test_cpythons_tests_are_run_and_not_merely_imported() -> None:
    names = set(unittest.TestLoader().getTestCaseNames(OnAPath))
    assert {"test_reacquire", "test_state_after_timeout", "test_acquire_contended"} <= names
    assert len(names) >= 15


def test_a_lock_needs_a_path_or_a_name_and_not_both(path: Path) -> None:
    with pytest.raises(TypeError, match="path or name"):
        LeaderLock()
    with pytest.raises(TypeError, match="path or name"):
        LeaderLock(path, name="x")


def test_release_without_acquire_is_a_runtime_error_that_names_the_path(path: Path) -> None:
    lock = LeaderLock(path)
    with pytest.raises(RuntimeError, match=str(path)) as caught:
        lock.release()
    assert isinstance(caught.value, NotHeld)
    with lock:
        pass
    with pytest.raises(NotHeld):
        lock.release()


def test_what_needs_the_lock_says_so_when_it_is_not_held(path: Path) -> None:
    lock = LeaderLock(path)
    for use in (lambda: lock.term, lock.check, lock.fileno):
        with pytest.raises(NotHeld, match=str(path)):
            use()


@pytest.mark.parametrize("timeout", [-2, -0.5, float("nan"), float("-inf")])
def test_a_negative_or_nan_timeout_is_refused_and_nothing_is_held(path: Path, timeout: float) -> None:
    lock = LeaderLock(path)
    with pytest.raises(ValueError):
        lock.acquire(timeout=timeout)
    assert not lock.locked()
    assert lock.acquire(blocking=False)
    lock.release()


@pytest.mark.parametrize("timeout", [1e20, float("inf"), threading.TIMEOUT_MAX * 1.01])
def test_a_timeout_that_is_too_large_is_an_overflow_as_in_threading(path: Path, timeout: float) -> None:
    with pytest.raises(OverflowError):
        threading.Lock().acquire(timeout=timeout)
    with pytest.raises(OverflowError):
        LeaderLock(path).acquire(timeout=timeout)


def test_the_longest_timeout_of_threading_is_taken(path: Path) -> None:
    lock = LeaderLock(path)
    with holder(path) as other:
        releasing = threading.Timer(0.2, lambda: other.tell("lock.release()"))
        releasing.start()
        assert lock.acquire(timeout=threading.TIMEOUT_MAX)
        releasing.join()
        lock.release()


def test_a_timeout_for_a_non_blocking_acquire_is_refused(path: Path) -> None:
    for timeout in (0, 1):
        with pytest.raises(ValueError):
            LeaderLock(path).acquire(False, timeout)


def test_a_timeout_of_zero_does_not_wait(path: Path) -> None:
    with holder(path):
        assert not LeaderLock(path).acquire(timeout=0)


def test_two_objects_on_one_path_exclude_each_other(path: Path) -> None:
    first, second = LeaderLock(path), LeaderLock(str(path))
    with first:
        assert not second.acquire(blocking=False)
        assert not second.acquire(timeout=0.05)
        assert not second.locked()
    assert second.acquire(blocking=False)
    second.release()


def test_another_process_is_excluded_and_waits_its_turn(path: Path) -> None:
    with Child(path) as other, LeaderLock(path) as held:
        assert held.locked()
        assert other.tell("LeaderLock(argv[0]).acquire(blocking=False)") is False
        other.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, other.pid)
        LeaderLock(path)  # making one more object changes nothing
        assert other.is_silent(0.1)
    # The child is killed by its `with` only now: it must have got the lock, or will not have waited.


def test_a_waiting_process_gets_the_lock_when_it_is_released(path: Path) -> None:
    lock = LeaderLock(path)
    with Child(path) as other:
        with lock:
            other.begin("lock = LeaderLock(argv[0]); lock.acquire()")
            until_parked(path, other.pid)
        other.answer()
        assert not lock.acquire(blocking=False)
        assert other.tell("lock.locked()") is True


def test_waiting_processes_are_served_in_the_order_of_their_arrival(path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    children = [Child(path) for _ in range(4)]
    try:
        for child in children:
            child.begin("lock = LeaderLock(argv[0]); lock.acquire(); term = lock.term; lock.release()")
            until_parked(path, child.pid)
        first = lock.term
        lock.release()
        for child in children:
            child.answer()
        assert [child.tell("term") for child in children] == [first + n for n in range(1, 5)]
    finally:
        for child in children:
            child.__exit__(None, None, None)


def test_a_killed_holder_is_followed_by_the_one_that_waits(path: Path) -> None:
    lock = LeaderLock(path)
    with holder(path) as other, Child(path) as waiter:
        waiter.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, waiter.pid)
        other.kill()
        waiter.answer()
        assert not lock.acquire(blocking=False)
        assert waiter.tell("lock.term") == 2


def test_a_waiting_thread_is_served_though_another_thread_released(path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    got = threading.Event()

    def wait() -> None:
        lock.acquire()
        got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(0.05)
    lock.release()
    assert got.wait(30)
    thread.join()
    assert lock.locked()
    lock.release()


def test_many_threads_in_several_processes_never_hold_at_once(path: Path, tmp_path: Path) -> None:
    # A counter that is read and written without any protection but the lock's.
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = (
        "lock = LeaderLock(argv[0])\n"
        "def work():\n"
        "    for _ in range(40):\n"
        "        with lock:\n"
        "            with open(argv[1]) as f: n = int(f.read())\n"
        "            time.sleep(0)\n"
        "            with open(argv[1], 'w') as f: f.write(str(n + 1))\n"
        "threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    children = [Child(path, counter) for _ in range(3)]
    try:
        for child in children:
            child.begin(program)
        for child in children:
            child.answer()
    finally:
        for child in children:
            child.__exit__(None, None, None)
    assert int(counter.read_text()) == 3 * 4 * 40
    with LeaderLock(path) as _, LeaderLock(path.with_name("x")):
        pass
    lock = LeaderLock(path)
    with lock:
        assert lock.term == 3 * 4 * 40 + 2


def test_locked_tells_of_this_object_and_not_of_the_file(path: Path) -> None:
    first, second = LeaderLock(path), LeaderLock(path)
    with first:
        assert first.locked()
        assert not second.locked()
    assert not first.locked()


def test_the_descriptor_is_the_locked_file_and_is_closed_on_exec(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        assert os.path.samestat(os.fstat(lock.fileno()), os.stat(path))
        assert not os.get_inheritable(lock.fileno())


def test_reading_the_record_is_no_write_of_the_inode(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        pass

    def leaves_it_alone() -> bool:
        path.read_bytes()  # may move it, unless the file system is mounted noatime
        before = path.stat().st_atime_ns
        for _ in range(3):
            with lock:
                time.sleep(0.01)  # more than a tick of the kernel's coarse clock
        return path.stat().st_atime_ns == before

    # Who looks at all locks of the machine meanwhile, as other tests do, reads this one's record, too.
    assert any(leaves_it_alone() for _ in range(5))


def test_an_execed_program_inherits_nothing_even_if_everything_is_inherited(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        program = (
            "import os, sys; print(any(os.path.exists(p) and os.path.samefile(p, sys.argv[1]) "
            + ("for p in (f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd'))))")
        )
        run = subprocess.run(
            [sys.executable, "-c", program, path],
            capture_output=True,
            text=True,
            close_fds=False,
            check=True,
        )
        assert run.stdout == "False\n"


def test_a_process_that_execs_itself_lets_go(path: Path) -> None:
    with holder(path) as other:
        other.begin("os.execv('/bin/sleep', ['sleep', '60'])")
        lock = LeaderLock(path)
        assert lock.acquire(timeout=30)
        lock.release()
        assert os.readlink(f"/proc/{other.pid}/exe").endswith(("sleep", "coreutils", "busybox"))


def test_no_descriptor_is_left_by_use(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        pass
    before = descriptors_without_garbage()
    for _ in range(100):
        with lock:
            assert lock.holder()
            lock.check()
    assert descriptors_of() == before


def test_a_held_lock_that_is_garbage_collected_warns_and_is_released(path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    gone = weakref.ref(lock)
    with pytest.warns(ResourceWarning, match="never released"):
        del lock
    assert gone() is None
    with LeaderLock(path) as held:
        assert held.locked()


def test_check_passes_while_the_path_names_the_file_and_raises_when_it_is_gone(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        lock.check()
        path.unlink()
        with pytest.raises(LockFileReplaced, match=str(path)):
            lock.check()
        path.write_bytes(b"")
        with pytest.raises(LockFileReplaced, match="acquire again"):
            lock.check()
    with lock:
        lock.check()


def test_an_anonymous_lock_has_no_path_to_lose(path: Path) -> None:
    lock = LeaderLock.anonymous(name="health")
    assert lock.path == "memfd:health"
    with lock:
        assert lock.term == 1
        lock.check()
    with lock:
        assert lock.term == 2


def test_anonymous_locks_of_one_name_are_different_locks() -> None:
    first, second = LeaderLock.anonymous(name="x"), LeaderLock.anonymous(name="x")
    with first:
        assert second.acquire(blocking=False)
        second.release()


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300])
def test_an_anonymous_lock_refuses_a_name_that_the_kernel_would_refuse(name: str) -> None:
    with pytest.raises(ValueError, match="name must be"):
        LeaderLock.anonymous(name=name)


def test_an_anonymous_lock_that_goes_leaves_no_descriptor() -> None:
    before = descriptors_without_garbage()
    for _ in range(10):
        with LeaderLock.anonymous():
            pass
    gc.collect()
    assert descriptors_of() == before


def test_the_mode_holds_whatever_the_umask(path: Path) -> None:
    before = os.umask(0o077)
    try:
        with LeaderLock(path, mode=0o664):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o664


def test_a_new_file_is_private_and_an_old_ones_mode_is_left_alone(path: Path) -> None:
    with LeaderLock(path):
        assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with LeaderLock(path, mode=0o600):
        assert path.stat().st_mode & 0o777 == 0o640


def test_settings_that_cannot_be_are_refused_when_the_lock_is_made(path: Path) -> None:
    for mode in (-1, 0o1777, 0o10000):
        with pytest.raises(ValueError, match="mode"):
            LeaderLock(path, mode=mode)
    with pytest.raises(ValueError, match="on_network_filesystem"):
        LeaderLock(path, on_network_filesystem="maybe")  # type: ignore[arg-type]
    for empty in ("", "a\0b"):
        with pytest.raises(ValueError, match="path must name a file"):
            LeaderLock(empty)
    with pytest.raises(TypeError):
        LeaderLock(17)  # type: ignore[arg-type]


def test_with_gives_the_lock_itself(path: Path) -> None:
    lock = LeaderLock(path)
    with lock as inner:
        assert inner is lock
    with LeaderLock(path) as made_here:
        assert made_here.term == 2


@pytest.mark.parametrize("limit", [0, 0.1])
def test_with_waits_no_longer_than_the_locks_timeout(path: Path, limit: float) -> None:
    lock = LeaderLock(path, timeout=limit)
    with holder(path) as other:
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=f"was not acquired within {limit} s") as caught, lock:
            pytest.fail("it is held elsewhere")
        assert time.monotonic() - begin >= limit
        assert isinstance(caught.value, LockTimeout)
        assert isinstance(caught.value, LeaderLockError)
        assert not lock.locked()
        other.tell("lock.release()")
        with lock:
            assert lock.term == 2


def test_the_timeout_is_that_of_with_and_not_of_acquire(path: Path) -> None:
    lock = LeaderLock(path, timeout=0)
    with holder(path) as other:

        def let_go() -> None:
            until_parked(path, os.getpid())
            other.tell("lock.release()")

        thread = threading.Thread(target=let_go)
        thread.start()
        assert lock.acquire()
        thread.join()
        lock.release()


@pytest.mark.parametrize("timeout", [-2, float("nan"), float("inf"), 1e300])
def test_a_timeout_that_acquire_would_refuse_is_refused_when_the_lock_is_made(
    path: Path, timeout: float
) -> None:
    with pytest.raises((ValueError, OverflowError)) as refused:
        LeaderLock(path).acquire(timeout=timeout)
    with pytest.raises(refused.type, match=re.escape(str(refused.value))):
        LeaderLock(path, timeout=timeout)


def test_the_timeout_is_shown_and_no_timeout_is_not(path: Path) -> None:
    assert f"path={str(path)!r} timeout=2.5 at " in repr(LeaderLock(path, timeout=2.5))
    assert " timeout=" not in repr(LeaderLock(path, timeout=-1))


def test_making_a_lock_touches_nothing(path: Path) -> None:
    before = descriptors_without_garbage()
    lock = LeaderLock(path)
    assert lock.holder() is None
    assert not path.exists()
    assert descriptors_of() == before


def test_a_relative_path_keeps_its_place_when_the_directory_changes(path: Path) -> None:
    before = os.getcwd()
    try:
        os.chdir(path.parent)
        lock = LeaderLock("leader.lock")
        os.chdir("/")
        with lock:
            assert path.exists()
            assert lock.path == str(path)
    finally:
        os.chdir(before)


def test_a_lock_whose_descriptors_were_all_closed_says_so_and_can_be_used_again(path: Path) -> None:
    # What a daemoniser does, after the lock was acquired.
    with Child(path) as child:
        child.tell("lock = LeaderLock(argv[0]); lock.acquire(); os.closerange(lock.fileno(), 256)")
        with LeaderLock(path):
            with pytest.raises(Exception, match="NotHeld") as caught:
                child.tell("lock.check()")
            assert str(path) in str(caught.value)
            with pytest.raises(Exception, match="NotHeld"):
                child.tell("lock.release()")
            assert child.tell("lock.locked()") is False
            assert child.tell("lock.acquire(timeout=0.05)") is False
        assert child.tell("lock.acquire(timeout=30)") is True
        assert child.tell("lock.term") == 3


def test_a_descriptor_number_that_others_have_reused_is_left_alone(path: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"p" * 1000)
    with Child(path, precious) as child:
        child.tell("lock = LeaderLock(argv[0]); lock.acquire(); n = lock.fileno(); os.close(n)")
        assert child.tell("os.open(argv[1], os.O_RDWR) == n")
        with pytest.raises(Exception, match="NotHeld"):
            child.tell("lock.release()")
        assert child.tell("os.fstat(n).st_size") == 1000
        assert child.tell("lock.acquire(timeout=30)") is True
    assert precious.read_bytes() == b"p" * 1000


def test_everything_public_is_there_and_every_error_is_a_leaderlock_error() -> None:
    for name in leaderlock.__all__:
        assert getattr(leaderlock, name) is not None
    errors = [getattr(leaderlock, n) for n in leaderlock.__all__]
    kinds = [e for e in errors if isinstance(e, type) and issubclass(e, Exception)]
    assert len(kinds) >= 9
    assert all(issubclass(kind, LeaderLockError) for kind in kinds)
    with pytest.raises(AttributeError, match="nonsense"):
        leaderlock.nonsense  # noqa: B018


def test_using_a_lock_emits_no_warnings(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lock = LeaderLock(path)
        begin = time.monotonic()
        with lock:
            assert not lock.acquire(timeout=0.05)
        assert time.monotonic() - begin >= 0.05
