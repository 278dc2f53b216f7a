"""No descriptor or no thread is left: an error of ours names the limit to raise; nothing is held."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaderLockError, LockFileUnusable
from tests.processes import Child, ChildError, flocks_of, holder
from tests.supervisor.pid1 import LEADERLOCK, run

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FILLED = """
import resource
def leave(free):
    "Open files up to the limit, but for so many."
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    filler = [os.open('/', os.O_RDONLY) for _ in range(30)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(filler) + 1, hard))
    for _ in range(free):
        os.close(filler.pop())
    return filler
"""

COROUTINES = """
import asyncio
async def lock_in_coroutine():
    async with LeaderLock(argv[0]):
        pass
async def lead_in_coroutine():
    async with leaderlock.Election(argv[0]).lead():
        pass
"""


def a_user() -> int:
    """A user of this test's own: RLIMIT_NPROC counts the threads of a user, unless it is root."""
    return 60_000 + os.getpid() % 5_000


@needs_root
@pytest.mark.parametrize(
    "call",
    [
        "leaderlock.Election(argv[0]).start(lambda leadership: None)",
        "LeaderLock(argv[0]).acquire(timeout=30)",
        "asyncio.run(lock_in_coroutine())",
        "asyncio.run(lead_in_coroutine())",
    ],
    ids=["Election.start", "acquire", "async with lock", "election.lead"],
)
def test_no_thread_left_is_an_error_that_names_the_limits(shared: Path, call: str) -> None:
    path = shared / "x.lock"
    path.touch()
    path.chmod(0o666)
    with holder(path) as other, Child(path) as child:
        child.tell(COROUTINES)
        child.tell("import resource, leaderlock.election.aio.block, leaderlock.lock.aio")
        child.tell(f"leaderlock.Election(argv[0]); os.setuid({a_user()})")
        child.tell("resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))")
        with pytest.raises(ChildError) as caught:
            child.tell(call)
        assert caught.value.kind == "NoThreadLeft"
        for limit in ("ulimit -u", "pids.max", "TasksMax="):
            assert limit in caught.value.text
        assert flocks_of(path) == [(other.pid, False)]
    assert issubclass(leaderlock.NoThreadLeft, LeaderLockError)
    assert issubclass(leaderlock.NoThreadLeft, RuntimeError)  # as Python's own error


@needs_root
def test_run_without_a_thread_for_its_wait_says_so_and_gives_125(shared: Path) -> None:
    path = shared / "x.lock"
    as_user = ["setpriv", f"--reuid={a_user()}", f"--regid={a_user()}", "--clear-groups"]
    # It may read everything, since Python may live in a directory that is closed to it.
    able = ["--inh-caps=-all,+dac_override", "--ambient-caps=+dac_override", "prlimit", "--nproc=1"]
    words = ["run", "--lock", str(path), "--", "true"]
    result = run(*words, program=[*as_user, *able, *LEADERLOCK])
    assert result.returncode == 125
    assert result.stderr.startswith("leaderlock: no thread can be started: ")
    assert "ulimit -u" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("lock", [True, False], ids=["with a lock", "without a lock"])
def test_run_with_few_descriptors_runs_the_command_or_says_what_to_raise(
    path: Path, lock: bool
) -> None:
    refused = 0
    for limit in range(6, 16):
        words = ["run", *(["--lock", str(path)] if lock else []), "--", "true"]
        result = run(*words, program=["prlimit", f"--nofile={limit}:{limit}", *LEADERLOCK])
        if result.returncode == 0:
            assert not result.stderr
            continue
        refused += 1
        assert result.returncode == 125
        assert "too many files open" in result.stderr
        assert "ulimit -n" in result.stderr
        assert "bug" not in result.stderr
        assert result.stderr.count("\n") == 1
    assert refused < 10  # the command has run
    if lock:
        assert refused


def test_a_timed_wait_that_could_not_be_ended_is_refused(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell(FILLED)
        # One for the lock file, one for the file that ends the wait; ctypes finds none.
        child.tell("lock = LeaderLock(argv[0]); lock.holder(); filler = leave(2)")
        with pytest.raises(ChildError) as caught:
            child.tell("lock.acquire(timeout=0.1)")
        assert caught.value.kind == "LockFileUnusable"
        assert "ulimit -n" in caught.value.text
        assert flocks_of(path) == [(other.pid, False)]
        child.tell("for fd in filler: os.close(fd)")
        assert child.tell("lock.acquire(timeout=0.1)") is False


def test_an_election_made_without_a_descriptor_left_is_an_error_of_ours(path: Path) -> None:
    with Child(path) as child:
        child.tell(FILLED)
        child.tell("Election = leaderlock.Election; filler = leave(0)")
        with pytest.raises(ChildError) as caught:
            child.tell("Election(argv[0])")
        assert caught.value.kind == LockFileUnusable.__name__
        assert f"{path}: cannot import what a leader needs" in caught.value.text
        assert "ulimit -n" in caught.value.text
        child.tell("for fd in filler: os.close(fd)")
        assert child.tell("Election(argv[0]).run(lambda leadership: leadership.term)") == 1
