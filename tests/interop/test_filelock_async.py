"""`leaderlock.interop.AsyncFileLock` and filelock's own: each test runs with both."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import filelock
import pytest

from leaderlock.interop import AsyncFileLock
from leaderlock.interop.filelock import MAKES_DIRECTORY_ONCE
from tests.filesystems import made
from tests.interop.waiting import at_rest
from tests.processes import (
    Child,
    flocks_of,
    holder,
    until,
    until_parked,
    wakeups_of,
)

Locks: TypeAlias = type[filelock.AsyncUnixFileLock]


@pytest.fixture(params=[filelock.AsyncUnixFileLock, AsyncFileLock], ids=["original", "ours"])
def locks(request: pytest.FixtureRequest) -> Locks:
    """The class under test."""
    kind: Locks = request.param
    return kind


def holds(path: Path) -> bool:
    return (os.getpid(), False) in flocks_of(path)


async def soon(call: Callable[[], object]) -> None:
    await asyncio.sleep(0.2)
    call()


def test_it_is_one_of_theirs(path: Path) -> None:
    assert isinstance(AsyncFileLock(path), filelock.AsyncFileLock)
    assert isinstance(AsyncFileLock(path), filelock.BaseAsyncFileLock)


def test_it_counts_and_is_released(locks: Locks, path: Path) -> None:
    async def main() -> None:
        lock = locks(path)
        async with lock as inner, await lock.acquire() as again:
            assert inner is again is lock
            assert lock.lock_counter == 2
            assert holds(path)
        assert not lock.is_locked
        await lock.acquire()
        await lock.release(force=True)
        assert not holds(path)
        with pytest.raises(NotImplementedError):
            lock.__enter__()

    asyncio.run(main())


@pytest.mark.parametrize("run_in_executor", [True, False])
@pytest.mark.parametrize("timeout", [-1, 60])
def test_a_waiter_is_next_and_the_loop_goes_on_meanwhile(
    locks: Locks, path: Path, held: Child, run_in_executor: bool, timeout: float
) -> None:
    async def main() -> None:
        lock = locks(path, timeout, run_in_executor=run_in_executor)
        kill = asyncio.create_task(soon(held.kill))
        async with lock:
            assert kill.done()
            assert holds(path)
            assert lock.lock_counter == 1
        assert not holds(path)

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_a_timeout(locks: Locks, path: Path, held: Child, timeout: float) -> None:
    async def main() -> None:
        lock = locks(path)
        begin = time.monotonic()
        with pytest.raises(filelock.Timeout) as raised:
            await lock.acquire(timeout)
        assert time.monotonic() - begin >= timeout
        assert raised.value.lock_file == str(path)
        assert (lock.is_locked, lock.lock_counter) == (False, 0)
        with pytest.raises(filelock.Timeout):
            await lock.acquire(blocking=False)
        held.kill()
        async with await lock.acquire(60):
            assert holds(path)

    asyncio.run(main())


def test_cancel_check_ends_the_wait(locks: Locks, path: Path, held: Child) -> None:
    async def main() -> None:
        answers = iter([False, False, True])
        lock = locks(path)
        with pytest.raises(filelock.Timeout):
            await lock.acquire(cancel_check=lambda: next(answers), poll_interval=0.02)
        assert list(answers) == []
        assert lock.lock_counter == 0

    asyncio.run(main())


def test_a_wait_with_cancel_check_that_ends_well(locks: Locks, path: Path, held: Child) -> None:
    async def main() -> None:
        kill = asyncio.create_task(soon(held.kill))
        async with await locks(path).acquire(cancel_check=lambda: False):
            assert kill.done()
            assert holds(path)

    asyncio.run(main())


def test_a_cancelled_task_leaves_nothing_behind(locks: Locks, path: Path, held: Child) -> None:
    async def main() -> None:
        lock = locks(path)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.2)
        assert (lock.is_locked, lock.lock_counter) == (False, 0)
        assert [pid for pid, _ in flocks_of(path)] == [held.pid]
        held.kill()
        async with lock:
            assert holds(path)

    asyncio.run(main())


def test_tasks_share_an_object(locks: Locks, path: Path, held: Child) -> None:
    async def main() -> None:
        lock = locks(path)
        entered = []
        everybody = asyncio.Event()

        async def work() -> None:
            async with lock:
                entered.append(lock.lock_counter)
                if len(entered) == 3:
                    everybody.set()
                await everybody.wait()

        kill = asyncio.create_task(soon(held.kill))
        await asyncio.gather(work(), work(), work(), kill)
        assert entered == [1, 2, 3]
        assert not holds(path)

    asyncio.run(main())


def test_tasks_with_objects_of_their_own_take_turns(locks: Locks, path: Path) -> None:
    async def main() -> None:
        inside: list[int] = []
        most = []

        async def work() -> None:
            async with locks(path, poll_interval=0.005):
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0)
                inside.pop()

        await asyncio.gather(*(work() for _ in range(5)))
        assert most == [1] * 5

    asyncio.run(main())


def test_another_object_of_the_same_task_would_wait_for_ever(locks: Locks, path: Path) -> None:
    async def main() -> None:
        async with locks(path):
            with pytest.raises(RuntimeError, match="Deadlock"):
                await locks(path).acquire()

    asyncio.run(main())


def test_a_file_that_is_replaced_while_one_waits(locks: Locks, path: Path, held: Child) -> None:
    def replace() -> None:
        path.unlink()
        held.kill()

    async def main() -> None:
        change = asyncio.create_task(soon(replace))
        async with locks(path):
            assert change.done()
            assert holds(path)

    asyncio.run(main())


@pytest.mark.skipif(not MAKES_DIRECTORY_ONCE, reason="this filelock makes the directory anew")
def test_a_directory_that_is_renamed_while_one_waits_is_missed(
    locks: Locks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "filelock")
    path = tmp_path / "old" / "leader.lock"
    path.parent.mkdir()

    async def main() -> None:
        change = asyncio.create_task(soon(lambda: path.parent.rename(tmp_path / "new")))
        with pytest.raises(FileNotFoundError, match="old"):
            await locks(path).acquire(timeout=2)
        await change

    with holder(path):
        asyncio.run(main())
    assert not path.parent.exists()
    assert "waiting" in caplog.text


def test_on_a_file_system_without_flock_it_becomes_a_soft_lock(locks: Locks, tmp_path: Path) -> None:
    async def main(path: Path) -> None:
        lock, waiting = locks(path), locks(path)
        with pytest.warns(UserWarning, match="falling back to SoftFileLock"):
            await lock.acquire()
        assert path.read_text(), "the holder's marker, of a soft lock"
        with pytest.warns(UserWarning, match="falling back"), pytest.raises(filelock.Timeout):
            await waiting.acquire(0.2)
        await lock.release()
        async with waiting:
            assert waiting.is_locked

    with made("fuse-refused", tmp_path) as mounted:
        asyncio.run(main(mounted / "lock"))


WAIT = """
from leaderlock.interop import AsyncFileLock
import asyncio
async def main():
    async with AsyncFileLock(argv[0]):
        os.write(1, b'held\\n')
asyncio.run(main())
"""


def test_a_waiter_costs_no_wakeups(path: Path, held: Child) -> None:
    with Child(path) as child:
        child.begin(WAIT)
        until_parked(path, child.pid)
        until(lambda: at_rest(child), "its threads to come to rest")
        before = wakeups_of(child.pid)
        assert child.is_silent(0.3)
        assert wakeups_of(child.pid) == before
        held.kill()
        assert child.line() == "held"
