"""`LeaderLock.holder`: the kernel's word first, and what the record adds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leaderlock import LeaderLock, LockFileUnusable, Record, UnsafeLockFile
from leaderlock.kernel import lock_table
from tests.processes import (
    Child,
    descriptors_of,
    descriptors_without_garbage,
    forked,
    holder,
    until_parked,
)


def test_nobody_holds_a_file_that_does_not_exist_and_asking_does_not_make_it(path: Path) -> None:
    assert LeaderLock(path).holder() is None
    assert not path.exists()


def test_nobody_holds_a_lock_that_was_released(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        pass
    assert lock.holder() is None


def test_the_holder_is_told_to_itself_and_to_others(path: Path) -> None:
    lock = LeaderLock(path)
    begin = time.time()
    with lock:
        record = lock.holder()
        assert record is not None
        assert (record.pid, record.term) == (os.getpid(), lock.term)
        assert record.since is not None
        assert begin - 1 <= record.since <= time.time() + 1
        assert (record.host, record.name) == (os.uname().nodename[:64], "leader")
        with Child(path) as other:
            assert other.tell("repr(LeaderLock(argv[0]).holder())") == repr(record)


def test_asking_neither_takes_the_lock_nor_leaves_a_descriptor(path: Path) -> None:
    lock = LeaderLock(path)
    with lock:
        pass
    before = descriptors_without_garbage()
    for _ in range(20):
        lock.holder()
    assert descriptors_of() == before
    with LeaderLock(path) as held:
        assert held.locked()


def test_a_killed_holder_is_not_shown_though_its_record_stands(path: Path) -> None:
    with holder(path) as other:
        assert LeaderLock(path).holder() is not None
        other.kill()
        assert LeaderLock(path).holder() is None
        assert b'"pid":%d,' % other.pid in path.read_bytes()


def test_those_who_wait_are_not_holders(path: Path) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.begin("LeaderLock(argv[0]).acquire()")
        until_parked(path, waiter.pid)
        record = LeaderLock(path).holder()
        assert record is not None
        assert record.pid == other.pid


def test_locks_on_other_files_are_not_mixed_up(path: Path, tmp_path: Path) -> None:
    with holder(tmp_path / "a.lock"), holder(tmp_path / "b.lock") as other:
        record = LeaderLock(tmp_path / "b.lock").holder()
        assert record is not None
        assert record.pid == other.pid
        path.touch()
        assert LeaderLock(path).holder() is None


def test_a_lock_of_another_kind_does_not_count(path: Path) -> None:
    with Child(path) as child:
        child.tell("import fcntl; file = open(argv[0], 'a'); fcntl.lockf(file, fcntl.LOCK_EX)")
        assert LeaderLock(path).holder() is None
        with LeaderLock(path) as held:
            assert held.locked()


def test_garbage_in_the_file_hides_no_holder(path: Path) -> None:
    with holder(path) as other:
        for garbage in (b"", b"garbage", os.urandom(512), b"x" * 5000):
            path.write_bytes(garbage)
            assert LeaderLock(path).holder() == Record(other.pid, None, None, None, None)


@pytest.mark.parametrize("name", ["plain", 'quo"te', "back\\slash", "blank s", "ümlaut", "x" * 90])
def test_any_name_is_told_or_cut_but_breaks_nothing(tmp_path: Path, name: str) -> None:
    with holder(tmp_path / f"{name}.lock") as other:
        record = LeaderLock(tmp_path / f"{name}.lock").holder()
        assert record is not None
        assert record.pid == other.pid
        assert record.name is not None
        assert name.startswith(record.name)
        assert len(record.name) >= min(len(name), 50)


def test_a_name_in_bytes_that_are_no_text_breaks_nothing(tmp_path: Path) -> None:
    lock = LeaderLock(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.lock"))
    with lock:
        record = lock.holder()
        assert record is not None
        assert record.pid == os.getpid()


def test_an_anonymous_lock_tells_its_holder_too() -> None:
    lock = LeaderLock.anonymous(name="health")
    assert lock.holder() is None
    with lock:
        record = lock.holder()
        assert record is not None
        assert (record.pid, record.name, record.term) == (os.getpid(), "health", 1)
        assert forked(lambda: lock.holder() == record) == 0


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a FIFO"),
        (os.mkdir, "a directory"),
        (lambda path: path.symlink_to("/dev/null"), "a symlink"),
    ],
)
def test_something_else_at_the_path_is_an_error(
    path: Path, make: Callable[[Path], object], kind: str
) -> None:
    make(path)
    with pytest.raises(UnsafeLockFile, match=f"{path} is {kind}"):
        LeaderLock(path).holder()


def test_a_path_through_a_file_is_an_error(path: Path) -> None:
    path.touch()
    with pytest.raises(LockFileUnusable, match="Not a directory"):
        LeaderLock(path / "leader.lock").holder()


def test_the_table_lists_the_queue_in_its_order(path: Path) -> None:
    with holder(path) as first, Child(path) as second, Child(path) as third:
        for child in (second, third):
            child.begin("LeaderLock(argv[0]).acquire()")
            until_parked(path, child.pid)
        table = lock_table()
        assert table is not None
        mine = [entry for entry in table if entry.inode == path.stat().st_ino]
        assert [(entry.pid, entry.waiting) for entry in mine] == [
            (first.pid, False),
            (second.pid, True),
            (third.pid, True),
        ]
        assert all(entry.exclusive for entry in mine)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_holder_in_a_container_is_told_by_the_pid_it_has_here(path: Path) -> None:
    program = (
        "import sys; from leaderlock import LeaderLock; lock = LeaderLock(sys.argv[1])\n"
        "lock.acquire(); print(lock.holder().pid, flush=True); sys.stdin.read()"
    )
    run = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            sys.executable,
            "-c",
            program,
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with run:
        assert run.stdin is not None
        assert run.stdout is not None
        inside = run.stdout.readline()
        if not inside:
            pytest.skip("may not make a PID namespace")
        assert inside == b"1\n"
        record = LeaderLock(path).holder()
        assert record is not None
        assert record.pid not in (1, run.pid)
        assert record.term == 1
        assert Path(f"/proc/{record.pid}/stat").exists()
        run.stdin.close()
