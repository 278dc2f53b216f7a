"""The same file under filelock, portalocker and flock(1): all exclude each other, the term goes on."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from leaderlock import LeaderLock
from tests.processes import Child, flocks_of, until_parked

FILELOCK = {
    "make": "import filelock; other = filelock.FileLock(argv[0])",
    "take": "other.acquire()",
    "try": "other.acquire(blocking=False)",
    "drop": "other.release()",
}
PORTALOCKER = {
    "make": "import portalocker; other = portalocker.Lock(argv[0], timeout=60)",
    "take": "other.acquire()",
    "try": "portalocker.Lock(argv[0], timeout=0, fail_when_locked=True).acquire()",
    "drop": "other.release()",
}
FCNTL = {
    "make": "import fcntl; other = open(argv[0], 'a')",
    "take": "fcntl.flock(other, fcntl.LOCK_EX)",
    "try": "fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)",
    "drop": "fcntl.flock(other, fcntl.LOCK_UN)",
}
others = pytest.mark.parametrize(
    "program", [FILELOCK, PORTALOCKER, FCNTL], ids=["filelock", "portalocker", "fcntl"]
)
needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock(1)")


def made(path: Path, program: dict[str, str]) -> Child:
    child = Child(path)
    child.tell(program["make"])
    return child


@others
def test_we_exclude_them(path: Path, program: dict[str, str]) -> None:
    lock = LeaderLock(path)
    with made(path, program) as child:
        with lock:
            with pytest.raises(Exception, match=r"Timeout|LockException|AlreadyLocked|BlockingIOError"):
                child.tell(program["try"])
            child.begin(program["take"])
            assert child.is_silent(0.3)
            lock.check()
        child.answer()
        assert flocks_of(path) == [(child.pid, False)]


@others
def test_they_exclude_us(path: Path, program: dict[str, str]) -> None:
    lock = LeaderLock(path)
    with lock:
        pass
    with made(path, program) as child:
        child.tell(program["take"])
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.1)
        child.tell(program["drop"])
        assert lock.acquire(timeout=60)
        lock.release()


@others
def test_we_get_it_when_they_are_killed(path: Path, program: dict[str, str]) -> None:
    with made(path, program) as child, Child(path) as waiter:
        child.tell(program["take"])
        waiter.begin("lock = LeaderLock(argv[0]); lock.acquire()")
        until_parked(path, waiter.pid)
        child.kill()
        waiter.answer()


@others
def test_the_term_goes_on_over_them(path: Path, program: dict[str, str]) -> None:
    # Also for a process that has not seen the earlier terms.
    with made(path, program) as child:
        for term in (1, 2, 3):
            with Child(path) as ours:
                ours.tell("lock = LeaderLock(argv[0])")
                assert ours.tell("lock.acquire() and lock.term") == term
                ours.tell("lock.release()")
            child.tell(program["take"])
            child.tell(program["drop"])
            if path.stat().st_size == 0:
                pytest.skip("this version (a filelock older than 4.2) empties the file, and the term")


@others
def test_a_file_that_they_made_is_a_lock_for_us(path: Path, program: dict[str, str]) -> None:
    with made(path, program) as child:
        child.tell(program["take"])
        child.tell(program["drop"])
        if not path.exists():  # some versions remove it
            path.touch()
        lock = LeaderLock(path)
        with lock:
            assert lock.term == 1


@others
def test_the_holder_is_told_though_they_write_no_record(path: Path, program: dict[str, str]) -> None:
    lock = LeaderLock(path)
    with lock:
        pass
    with made(path, program) as child:
        child.tell(program["take"])
        record = lock.holder()
        assert record is not None
        assert (record.pid, record.term, record.since) == (child.pid, None, None)


@needs_flock
def test_flock_1_is_excluded_and_waits(path: Path) -> None:
    lock = LeaderLock(path)
    lock.acquire()
    assert subprocess.run(["flock", "-n", "-E", "9", path, "true"]).returncode == 9
    assert subprocess.run(["flock", "-w", "0.1", "-E", "9", path, "true"]).returncode == 9
    with subprocess.Popen(["flock", path, "true"]) as waiting:
        until_parked(path, waiting.pid)
        lock.release()
        assert waiting.wait(60) == 0
    with lock:
        assert lock.term == 2


@needs_flock
def test_flock_1_excludes_us_until_its_command_ends(path: Path) -> None:
    lock = LeaderLock(path)
    run = subprocess.Popen(
        ["flock", path, "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stdout.readline() == b"held\n"
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.1)
        record = lock.holder()
        assert record is not None
        assert record.term is None
        begin = time.monotonic()
        run.stdin.close()
        assert lock.acquire(timeout=60)
        assert time.monotonic() - begin < 60
        lock.release()
