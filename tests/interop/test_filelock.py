"""`leaderlock.interop.FileLock` and filelock's own: each test runs with both, to show them equal."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import filelock
import pytest

from leaderlock import LeaderLock
from leaderlock.interop import FileLock
from leaderlock.interop.filelock import MAKES_DIRECTORY_ONCE
from tests.filesystems import made
from tests.interop.waiting import after, at_rest
from tests.processes import (
    Child,
    ChildError,
    descriptors_of,
    flocks_of,
    forked,
    handling,
    holder,
    until,
    until_parked,
    wakeups_of,
)

Locks: TypeAlias = type[filelock.UnixFileLock]

# Python 3.10 has none newer than filelock 4.1.
BEFORE_4_2 = tuple(map(int, filelock.__version__.split(".")[:2])) < (4, 2)


@pytest.fixture(params=[filelock.UnixFileLock, FileLock], ids=["original", "ours"])
def locks(request: pytest.FixtureRequest) -> Locks:
    """The class under test."""
    kind: Locks = request.param
    return kind


def holds(path: Path) -> bool:
    return path.exists() and (os.getpid(), False) in flocks_of(path)


# What a program does with it.


def test_it_is_one_of_theirs(path: Path) -> None:
    lock = FileLock(path)
    assert isinstance(lock, filelock.FileLock)
    assert isinstance(lock, filelock.BaseFileLock)


def test_acquire_and_release(locks: Locks, path: Path) -> None:
    lock = locks(path)
    assert not lock.is_locked
    lock.acquire()
    assert lock.is_locked
    assert holds(path)
    lock.release()
    assert not lock.is_locked
    assert not holds(path)
    lock.release()  # does nothing


def test_acquire_returns_a_proxy_for_a_with_statement(locks: Locks, path: Path) -> None:
    lock = locks(path)
    with lock.acquire() as inner:
        assert inner is lock
        assert lock.lock_counter == 1
    assert not lock.is_locked
    with lock as inner:
        assert inner is lock
    assert not lock.is_locked


def test_it_counts_how_often_it_was_acquired(locks: Locks, path: Path) -> None:
    lock = locks(path)
    with lock, lock, lock.acquire():
        assert lock.lock_counter == 3
        lock.release()
        assert holds(path)
        lock.acquire()
    assert lock.lock_counter == 0
    lock.acquire()
    lock.acquire()
    lock.release(force=True)
    assert not holds(path)


def test_it_decorates_a_function(locks: Locks, path: Path) -> None:
    @locks(path)
    def job(number: int) -> int:
        assert holds(path)
        return number + 1

    assert job(1) == 2
    assert not holds(path)


def test_an_exception_in_the_block_releases_it(locks: Locks, path: Path) -> None:
    lock = locks(path)
    with pytest.raises(KeyError), lock:
        raise KeyError
    assert not holds(path)


def test_a_lock_that_nobody_refers_to_is_released(locks: Locks, path: Path) -> None:
    lock = locks(path)
    lock.acquire()
    del lock
    assert not holds(path)


def test_its_properties(locks: Locks, path: Path) -> None:
    lock = locks(
        path,
        3,
        0o640,
        False,
        blocking=False,
        poll_interval=2,
        is_singleton=False,
        fallback_to_soft=False,
    )
    assert lock.lock_file == str(path)
    assert (lock.timeout, lock.blocking, lock.poll_interval) == (3, False, 2)
    assert (lock.mode, lock.has_explicit_mode, lock.lifetime) == (0o640, True, None)
    assert (lock.is_thread_local(), lock.is_singleton, lock.fallback_to_soft) == (False, False, False)
    lock.timeout, lock.blocking, lock.poll_interval = 1, True, 0.5
    assert (lock.timeout, lock.blocking, lock.poll_interval) == (1, True, 0.5)
    with pytest.raises(TypeError):
        locks(path, timeot=1)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="mode"):
        locks(path, mode=0o1000)
    with pytest.warns(UserWarning, match="lifetime is ignored"):
        assert locks(path, lifetime=1).lifetime is None


def test_the_file_gets_its_mode_and_keeps_its_content(locks: Locks, path: Path) -> None:
    with locks(path, mode=0o640):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("content")
    with locks(path, mode=0o600):
        # filelock 4.1 empties it, and sets its mode.
        assert path.read_text() == ("" if BEFORE_4_2 else "content")
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if BEFORE_4_2 else 0o640)


def test_a_missing_directory_is_made(locks: Locks, tmp_path: Path) -> None:
    with locks(tmp_path / "a" / "b" / "lock"):
        assert (tmp_path / "a" / "b" / "lock").exists()


def test_a_path_that_cannot_be_locked_is_an_error_of_the_system(locks: Locks, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    for path in (tmp_path, link):
        with pytest.raises(OSError, match=str(path)):
            locks(path).acquire(timeout=60)


def test_it_cannot_be_pickled(locks: Locks, path: Path) -> None:
    lock = locks(path)
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match=r"cannot (be )?pickle"):
            attempt(lock)


def test_a_singleton_is_one_object_for_a_path(locks: Locks, path: Path) -> None:
    lock = locks(path, is_singleton=True)
    assert locks(os.path.relpath(path), is_singleton=True) is lock
    with lock, locks(path, is_singleton=True):
        assert lock.lock_counter == 2
    with pytest.raises(ValueError, match="differing arguments"):
        locks(path, is_singleton=True, timeout=1)


def test_on_acquired_gets_the_locked_descriptor(locks: Locks, path: Path) -> None:
    written = []

    def write(fd: int) -> None:
        written.append(os.pwrite(fd, b"ours", 0))

    with locks(path, on_acquired=write) as lock, lock:
        assert written == [4]
    assert path.read_text() == "ours"


def test_on_acquired_that_raises_gives_the_lock_back(locks: Locks, path: Path, held: Child) -> None:
    def fail(fd: int) -> None:
        raise KeyError(fd)

    lock = locks(path, on_acquired=fail)
    with after(0.2, lambda: held.signal(signal.SIGKILL)), pytest.raises(KeyError):
        lock.acquire()
    assert not holds(path)
    assert lock.lock_counter == 0


# What it does when somebody else holds it.


@pytest.mark.parametrize("timeout", [0, 0.2, 1])
def test_a_timeout(locks: Locks, path: Path, held: Child, timeout: float) -> None:
    lock = locks(path)
    begin = time.monotonic()
    with pytest.raises(filelock.Timeout) as raised:
        lock.acquire(timeout)
    assert time.monotonic() - begin >= timeout
    assert raised.value.lock_file == str(path)
    assert str(raised.value) == f"The file lock '{path}' could not be acquired."
    assert isinstance(raised.value, TimeoutError)
    assert (lock.is_locked, lock.lock_counter) == (False, 0)
    held.kill()
    with lock.acquire(60):
        assert holds(path)


def test_a_timeout_of_the_object(locks: Locks, path: Path, held: Child) -> None:
    with pytest.raises(filelock.Timeout):
        locks(path, timeout=0.1).acquire()
    lock = locks(path)
    lock.timeout = 0.1
    with pytest.raises(filelock.Timeout), lock:
        pass


@pytest.mark.parametrize("timeout", [-1, 60])
def test_no_wait_if_not_blocking(locks: Locks, path: Path, held: Child, timeout: float) -> None:
    with pytest.raises(filelock.Timeout):
        locks(path, timeout).acquire(blocking=False)
    with pytest.raises(filelock.Timeout):
        locks(path, timeout, blocking=False).acquire()


def test_cancel_check_ends_the_wait(locks: Locks, path: Path, held: Child) -> None:
    asked = []

    def cancelled() -> bool:
        assert threading.current_thread() is threading.main_thread()
        asked.append(1)
        return len(asked) > 3

    lock = locks(path)
    with pytest.raises(filelock.Timeout):
        lock.acquire(cancel_check=cancelled, poll_interval=0.02)
    assert len(asked) == 4
    assert (lock.is_locked, lock.lock_counter) == (False, 0)


def test_a_cancel_check_that_raises_ends_the_wait(locks: Locks, path: Path, held: Child) -> None:
    def cancelled() -> bool:
        raise KeyError

    with pytest.raises(KeyError):
        locks(path).acquire(cancel_check=cancelled)


@pytest.mark.parametrize("timeout", [-1, 60, float("inf"), 1e300])
def test_a_waiter_is_next_when_the_holder_is_killed(
    locks: Locks, path: Path, held: Child, timeout: float
) -> None:
    lock = locks(path)
    with after(0.2, lambda: held.signal(signal.SIGKILL)), lock.acquire(timeout):
        assert holds(path)
        assert lock.lock_counter == 1
    assert not holds(path)


def test_a_wait_with_cancel_check_that_ends_well(locks: Locks, path: Path, held: Child) -> None:
    with after(0.2, lambda: held.signal(signal.SIGKILL)):
        with locks(path).acquire(cancel_check=lambda: False):
            assert holds(path)
        assert not holds(path)


def test_a_file_that_is_replaced_while_one_waits(locks: Locks, path: Path, held: Child) -> None:
    def replace() -> None:
        path.unlink()
        held.kill()

    lock = locks(path)
    with after(0.2, replace), lock:
        assert holds(path)  # the file that the path names now


@pytest.mark.skipif(not MAKES_DIRECTORY_ONCE, reason="this filelock makes the directory anew")
def test_a_directory_that_is_renamed_while_one_waits_is_missed(
    locks: Locks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "filelock")
    path = tmp_path / "old" / "leader.lock"
    path.parent.mkdir()
    with holder(path) as held:
        with (
            after(0.2, lambda: path.parent.rename(tmp_path / "new")),
            pytest.raises(FileNotFoundError, match="old"),
        ):
            locks(path).acquire(timeout=2)
        assert not path.parent.exists()
        assert held.tell("lock.locked()")
    assert "waiting" in caplog.text  # as the log of a wait says


def test_the_directory_may_change_while_one_waits_on_a_relative_path(
    locks: Locks, path: Path, held: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    elsewhere = path.parent / "elsewhere"
    elsewhere.mkdir()

    def change() -> None:
        os.chdir(elsewhere)
        held.kill()

    # filelock 4.1 opens the path anew for each try, and so locks a file in the other directory.
    follows = BEFORE_4_2 and locks is filelock.UnixFileLock
    with after(0.2, change), locks(path.name):
        assert holds(path) != follows
        assert holds(elsewhere / path.name) == follows
    assert not holds(path)
    assert any(elsewhere.iterdir()) == follows


def test_another_object_of_the_same_thread_would_wait_for_ever(locks: Locks, path: Path) -> None:
    with locks(path):
        other = locks(path)
        with pytest.raises(RuntimeError, match="Deadlock"):
            other.acquire()
        with pytest.raises(filelock.Timeout):
            other.acquire(0.1)


def test_threads_exclude_each_other_by_one_object(locks: Locks, path: Path) -> None:
    lock = locks(path)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lock:
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80


def test_threads_share_an_object_that_is_not_thread_local(
    locks: Locks, path: Path, held: Child
) -> None:
    lock = locks(path, thread_local=False)
    counted: list[int] = []
    entered = threading.Barrier(3)

    def work() -> None:
        with lock:
            entered.wait(60)
            counted.append(lock.lock_counter)
            entered.wait(60)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    held.kill()
    for thread in threads:
        thread.join()
    assert counted == [3, 3, 3]
    assert not holds(path)


def test_a_thread_that_waits_for_its_own_object_enters_when_another_thread_has_acquired_it(
    locks: Locks, path: Path, held: Child
) -> None:
    lock = locks(path, thread_local=False)
    both = threading.Barrier(2)
    asked: list[int] = []

    def ask() -> bool:
        asked.append(1)
        return False

    def wait_for_the_file() -> None:
        with lock:
            both.wait(60)

    def wait_for_the_object() -> None:
        with lock.acquire(cancel_check=ask):
            both.wait(60)

    with ThreadPoolExecutor() as threads:
        first = threads.submit(wait_for_the_file)
        if locks is FileLock:
            until_parked(path, os.getpid())
        else:
            until(lambda: lock.lock_counter, "its first try")
        second = threads.submit(wait_for_the_object)
        until(lambda: len(asked) >= 3, "it to wait for the first thread")
        held.kill()
        first.result(60)
        second.result(60)
    assert not holds(path)


def test_ctrl_c_ends_the_wait(locks: Locks, path: Path, held: Child) -> None:
    lock = locks(path)
    me = os.getpid()
    interrupt = after(0.2, lambda: os.kill(me, signal.SIGINT))
    with (
        handling(signal.SIGINT, signal.default_int_handler),
        interrupt,
        pytest.raises(KeyboardInterrupt),
    ):
        lock.acquire()
    assert (lock.is_locked, lock.lock_counter) == (False, 0)
    held.kill()
    with lock.acquire(60):
        assert holds(path)


def test_a_forked_child_neither_holds_it_nor_keeps_it_alive(locks: Locks, path: Path) -> None:
    lock = locks(path)

    def child() -> bool:
        with pytest.raises(RuntimeError, match="inherited across fork"):
            lock.acquire()
        return not lock.is_locked and not flocks_of(path)[1:] and str(path) not in descriptors_of()

    with lock:
        assert forked(child) == 0
        assert holds(path)


def test_a_lock_that_was_waited_for_is_not_kept_alive_by_a_forked_child(
    locks: Locks, path: Path, held: Child
) -> None:
    with after(0.2, lambda: held.signal(signal.SIGKILL)), locks(path):
        assert forked(lambda: str(path) not in descriptors_of()) == 0


def test_a_forked_child_keeps_a_file_that_has_the_locks_number_now(
    locks: Locks, path: Path, held: Child
) -> None:
    numbers: list[int] = []
    with after(0.2, lambda: held.signal(signal.SIGKILL)), locks(path, on_acquired=numbers.append):
        pass
    fd = os.open(path, os.O_RDONLY)
    try:
        assert fd == numbers[0]
        assert forked(lambda: os.fstat(fd)) == 0
    finally:
        os.close(fd)


def test_a_child_that_is_forked_while_one_waits_does_not_keep_the_lock_alive(
    locks: Locks, path: Path, held: Child
) -> None:
    got = threading.Event()
    end = threading.Event()

    def work() -> None:
        with locks(path):
            got.set()
            end.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    if locks is FileLock:
        until_parked(path, os.getpid())
    assert forked(lambda: str(path) not in descriptors_of()) == 0
    held.kill()
    assert got.wait(60)
    end.set()
    thread.join()


def test_settings_of_the_wrong_form_are_refused(locks: Locks, path: Path, held: Child) -> None:
    lock = locks(path)
    for timeout in ("1", True, None, [1]):
        if timeout is not None:
            with pytest.raises(TypeError, match="timeout"):
                lock.acquire(timeout)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nan"):
        lock.acquire(float("nan"))
    with pytest.raises(ValueError, match="poll_interval"):
        lock.acquire(poll_interval=-1)
    if not BEFORE_4_2:  # filelock 4.1 takes any value; 1 means to wait without limit
        with pytest.raises(TypeError, match="blocking"):
            lock.acquire(blocking=1)  # type: ignore[arg-type]
    with (
        pytest.warns(DeprecationWarning, match="poll_interval instead") as warned,
        pytest.raises(filelock.Timeout),
    ):
        lock.acquire(0.1, poll_intervall=0.05)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("other", ["filelock", "ours", "LeaderLock"])
def test_it_excludes_each_kind_and_they_exclude_it(locks: Locks, path: Path, other: str) -> None:
    make = {
        "filelock": "import filelock; lock = filelock.FileLock(argv[0])",
        "ours": "from leaderlock.interop import FileLock; lock = FileLock(argv[0])",
        "LeaderLock": "lock = LeaderLock(argv[0])",
    }
    lock = locks(path)
    with Child(path) as child:
        child.tell(make[other])
        with lock:
            if other == "LeaderLock":
                assert child.tell("lock.acquire(blocking=False)") is False
            else:
                with pytest.raises(ChildError, match="Timeout"):
                    child.tell("lock.acquire(blocking=False)")
            child.begin("lock.acquire() and None")
            assert child.is_silent(0.2)
        child.answer()
        with pytest.raises(filelock.Timeout):
            lock.acquire(0.1)
        child.tell("lock.release()")
        with lock.acquire(60):
            assert holds(path)


def test_the_term_goes_on_over_it(locks: Locks, path: Path) -> None:
    lock = LeaderLock(path)
    for term in (1, 2, 3):
        with lock:
            assert lock.term == term
        with locks(path):
            record = lock.holder()
            assert record is not None
            assert record.pid == os.getpid()


# What is ours alone.

WAIT = """
from leaderlock.interop import FileLock
import filelock
lock = {}(argv[0])
lock.acquire({})
"""


@pytest.mark.parametrize("arguments", ["", "timeout=60"])
def test_a_waiter_costs_no_wakeups(path: Path, held: Child, arguments: str) -> None:
    with Child(path) as ours, Child(path) as original:
        ours.begin(WAIT.format("FileLock", arguments))
        original.begin(WAIT.format("filelock.FileLock", arguments))
        until_parked(path, ours.pid)
        until(lambda: at_rest(ours), "its threads to come to rest")
        before = wakeups_of(ours.pid)
        polls = sum(wakeups_of(original.pid).values())
        until(lambda: sum(wakeups_of(original.pid).values()) > polls + 5, "the original to poll")
        assert ours.is_silent(0.3)
        assert wakeups_of(ours.pid) == before


def test_a_poll_interval_does_not_keep_it_from_its_lock(path: Path, held: Child) -> None:
    with Child(path) as child:
        child.begin(WAIT.format("FileLock", "poll_interval=10**6, cancel_check=lambda: False"))
        until_parked(path, child.pid)
        held.kill()
        child.answer()


def test_waiters_are_served_in_their_order(path: Path, held: Child) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(Child(path)) for _ in range(3)]
        for child in children:
            child.begin(WAIT.format("FileLock", ""))
            until_parked(path, child.pid)
        held.kill()
        for child in children:
            child.answer()
            assert flocks_of(path)[0] == (child.pid, False)
            child.tell("lock.release()")


def test_a_wait_that_timed_out_leaves_nothing_in_the_queue(path: Path, held: Child) -> None:
    for cancel_check in (None, lambda: False):
        with pytest.raises(filelock.Timeout):
            FileLock(path).acquire(0.1, cancel_check=cancel_check)
        assert [pid for pid, _ in flocks_of(path)] == [held.pid]


@pytest.mark.skipif(BEFORE_4_2, reason="filelock 4.1 opens without O_NONBLOCK: it waits for the lease")
def test_a_lease_on_the_file_makes_it_poll(path: Path) -> None:
    # F_SETLEASE: an open without O_NONBLOCK would block for up to 45 s.
    path.touch()
    with Child(path) as child:
        child.tell("import fcntl; fd = os.open(argv[0], os.O_RDONLY)")
        child.tell("before = signal.signal(signal.SIGIO, signal.SIG_IGN)")
        child.tell(f"fcntl.fcntl(fd, {fcntl.F_SETLEASE}, {fcntl.F_RDLCK})")
        with pytest.raises(filelock.Timeout):
            FileLock(path).acquire(0.3)
        child.tell(f"fcntl.fcntl(fd, {fcntl.F_SETLEASE}, {fcntl.F_UNLCK})")
        with FileLock(path).acquire(60):
            assert holds(path)


def test_on_a_file_system_without_flock_it_becomes_a_soft_lock(locks: Locks, tmp_path: Path) -> None:
    with made("fuse-refused", tmp_path) as mounted:
        path = mounted / "lock"
        lock = locks(path)
        with pytest.warns(UserWarning, match="falling back to SoftFileLock"):
            lock.acquire()
        assert path.read_text(), "the holder's marker, of a soft lock"
        waiting = locks(path)
        asked: list[int] = []

        def free_it() -> bool:
            asked.append(1)
            if len(asked) == 3:
                lock.release()
            return False

        with pytest.warns(UserWarning, match="falling back to SoftFileLock"):
            waiting.acquire(60, 0.02, cancel_check=free_it)
        assert len(asked) == 3
        waiting.release()
        with pytest.raises(OSError, match="Function not implemented"):
            locks(path, fallback_to_soft=False).acquire()


def plant_a_hard_link(directory: Path) -> None:
    """In a directory where all may write, the lock file is a second name of someone's file."""
    directory.chmod(0o777)
    (directory / "victim").write_text("precious")
    os.link(directory / "victim", directory / "lock")


def plant_a_stranger_s_file(directory: Path) -> None:
    directory.chmod(0o1777)
    (directory / "lock").touch()
    os.chown(directory / "lock", 4242, 4242)


@pytest.mark.parametrize(
    "plant",
    [
        plant_a_hard_link,
        pytest.param(
            plant_a_stranger_s_file,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
        ),
    ],
)
def test_a_wait_refuses_the_files_that_the_original_refuses_without_one(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    def acquired(kind: Locks, directory: Path) -> str:
        try:
            # What an owner of the file would write into it.
            with kind(directory / "lock", on_acquired=lambda fd: os.ftruncate(fd, 0)).acquire(60):
                return "held"
        except PermissionError as error:
            return str(error.strerror)

    outcomes: list[tuple[str, list[int]]] = []
    for kind in (filelock.UnixFileLock, FileLock):
        directory = tmp_path / kind.__name__
        directory.mkdir()
        plant(directory)
        if kind is FileLock:
            with ThreadPoolExecutor() as threads:
                fd = os.open(directory / "lock", os.O_RDWR)
                fcntl.flock(fd, fcntl.LOCK_EX)
                waiting = threads.submit(acquired, kind, directory)
                until_parked(directory / "lock", os.getpid())
                os.close(fd)
                outcome = waiting.result(60)
        else:
            outcome = acquired(kind, directory)
        outcomes.append((outcome, [file.stat().st_size for file in sorted(directory.iterdir())]))
    assert outcomes[0] == outcomes[1]


def test_without_filelock_the_error_says_what_to_install(path: Path) -> None:
    program = "import sys; sys.modules['{0}'] = None\nfrom leaderlock.interop import {1}"
    for package, name in (
        ("filelock", "FileLock"),
        ("filelock", "AsyncFileLock"),
        ("portalocker", "Lock"),
        ("portalocker", "RLock"),
    ):
        run = subprocess.run(
            [sys.executable, "-c", program.format(package, name)], capture_output=True, text=True
        )
        assert run.returncode == 1
        assert run.stderr.endswith(
            f"ImportError: leaderlock.interop.{name} needs {package}: run `pip install "
            f"'leaderlock[{package}]'`\n"
        )
