"""`async with lock`: the loop runs on, a cancelled wait leaves nothing, the order is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from leaderlock import CorruptLockFile, LeaderLock, LockTimeout, NotHeld
from tests.processes import (
    PATIENCE,
    Child,
    ChildError,
    descriptors_of,
    descriptors_without_garbage,
    flocks_of,
    holder,
    threads_of,
    until,
    until_parked,
)


async def until_soon(path: Path, pid: int) -> None:
    await asyncio.to_thread(until_parked, path, pid)


def test_a_free_lock_is_taken_without_a_thread(path: Path) -> None:
    async def main() -> None:
        before = len(threads_of())
        async with LeaderLock(path) as held:
            assert held.locked()
            assert len(threads_of()) == before
            assert flocks_of(path) == [(os.getpid(), False)]
        assert flocks_of(path) == []

    asyncio.run(main())


def test_the_loop_runs_on_during_the_wait(path: Path) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        async def take() -> int:
            lock = LeaderLock(path)
            async with lock:
                return lock.term

        ticking = asyncio.create_task(tick())
        taking = asyncio.create_task(take())
        await until_soon(path, os.getpid())
        at_begin = ticks
        deadline = time.monotonic() + PATIENCE
        while ticks <= at_begin + 20:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert not taking.done()
        await asyncio.to_thread(other.tell, "lock.release()")
        assert await taking == 2
        ticking.cancel()

    with holder(path) as other:
        asyncio.run(main())


def test_coroutines_threads_and_processes_exclude_each_other(path: Path) -> None:
    inside = 0
    most = 0
    lock = LeaderLock(path)

    def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)

    def leave() -> None:
        nonlocal inside
        inside -= 1

    async def coroutine() -> None:
        for _ in range(20):
            async with lock:
                enter()
                await asyncio.sleep(0)
                leave()

    def thread() -> None:
        for _ in range(20):
            with lock:
                enter()
                time.sleep(0)
                leave()

    async def main() -> None:
        await asyncio.gather(
            *(coroutine() for _ in range(5)), *(asyncio.to_thread(thread) for _ in range(3))
        )

    with Child(path) as child:
        child.begin("lock = LeaderLock(argv[0])\nfor _ in range(100):\n    with lock: pass\n")
        asyncio.run(main())
        child.answer()
    assert most == 1
    with lock:
        assert lock.term == 5 * 20 + 3 * 20 + 100 + 1


def test_coroutines_are_served_in_the_order_of_their_arrival(path: Path) -> None:
    served = []

    async def take(number: int, lock: LeaderLock) -> None:
        async with lock:
            served.append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        lock = LeaderLock(path)
        await asyncio.gather(*(take(number, lock) for number in range(20)))

    asyncio.run(main())
    assert served == list(range(20))


def test_a_cancelled_wait_leaves_nothing_and_cannot_hold_later(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        before = descriptors_without_garbage()
        taking = asyncio.create_task(lock.__aenter__())
        await until_soon(path, os.getpid())
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert flocks_of(path) == [(other.pid, False)]
        other.tell("lock.release()")
        assert flocks_of(path) == []
        assert not lock.locked()
        assert other.tell("lock.acquire(blocking=False)") is True
        # But for the decoy, of which there is one for the process.
        assert len(descriptors_of()) <= len(before) + 1

    with holder(path) as other:
        asyncio.run(main())


def test_a_wait_with_a_timeout_ends_in_time(path: Path) -> None:
    async def take() -> None:
        async with LeaderLock(path):
            pass

    async def main() -> None:
        begin = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(take(), 0.2)
        assert 0.2 <= time.monotonic() - begin < 20

    with holder(path):
        asyncio.run(main())


THOUSAND = """
import asyncio

async def give_up(lock, turn):
    taking = asyncio.ensure_future(lock.__aenter__())
    # Cancelled before it has begun, while it parks, and when it is parked.
    for _ in range(turn % 5):
        await asyncio.sleep(0)
    if turn % 10 == 9:
        await asyncio.sleep(0.001)
    taking.cancel()
    try:
        await taking
    except asyncio.CancelledError:
        return True
    return False

async def main(times):
    lock = LeaderLock(argv[0])
    return [await give_up(lock, turn) for turn in range(times)]
"""


def test_a_thousand_cancelled_waits_leave_no_more_than_one_did(path: Path) -> None:
    with holder(path) as other, Child(path) as child:
        child.tell(THOUSAND)
        assert child.tell("asyncio.run(main(10))") == [True] * 10
        until(lambda: len(threads_of(child.pid)) == 1, "the threads to end")
        descriptors = descriptors_of(child.pid)
        assert child.tell("asyncio.run(main(1000))") == [True] * 1000
        assert descriptors_of(child.pid) == descriptors
        until(lambda: len(threads_of(child.pid)) == 1, "the threads to end")
        assert flocks_of(path) == [(other.pid, False)]


def test_a_wait_that_is_cancelled_as_the_lock_arrives_does_not_keep_it(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        for turn in range(100):
            assert other.tell("lock.acquire()")
            taking = asyncio.ensure_future(lock.__aenter__())
            await asyncio.sleep(0.002)
            other.begin(f"time.sleep({turn % 10 / 5000}); lock.release()")
            await asyncio.sleep(turn % 7 / 3000)
            taking.cancel()
            try:
                assert await taking is lock
            except asyncio.CancelledError:
                assert not lock.locked()
            else:
                lock.release()
            await asyncio.to_thread(other.answer)
            assert flocks_of(path) == []

    with Child(path) as other:
        other.tell("lock = LeaderLock(argv[0])")
        asyncio.run(main())


def test_a_coroutine_that_is_cancelled_at_the_gate_lets_the_next_one_in(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        async with lock:
            first, second = (asyncio.ensure_future(lock.__aenter__()) for _ in range(2))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            first.cancel()
        assert await asyncio.wait_for(second, 60) is lock
        assert first.cancelled()
        lock.release()

    asyncio.run(main())


def test_a_coroutine_that_is_cancelled_just_when_the_gate_opens_passes_it_on(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        await lock.__aenter__()
        first, second = (asyncio.ensure_future(lock.__aenter__()) for _ in range(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        lock.release()  # the place is the first one's now, which has not been told yet
        first.cancel()
        assert await asyncio.wait_for(second, 60) is lock
        assert first.cancelled()
        lock.release()

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
def test_a_loop_that_is_closed_under_its_waiters_shuts_nobody_out(path: Path) -> None:
    # One coroutine is parked in the kernel, one stands at the gate, and the loop is closed.
    lock = LeaderLock(path)
    with holder(path) as other:
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(lock.__aenter__()) for _ in range(2)]
        loop.run_until_complete(until_soon(path, os.getpid()))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        other.tell("lock.release()")
        until(lambda: flocks_of(path) == [], "the parked thread to let go")
        assert lock.acquire(timeout=60)
        # Now the coroutines are collected, and must not let anybody else in.
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        del tasks, task
        gc.collect()
        assert lock.locked()
        got = []
        second = threading.Thread(target=lambda: got.append(lock.acquire(timeout=0.1)))
        second.start()
        second.join()
        assert got == [False]
        lock.release()
        assert flocks_of(path) == []


def test_an_error_of_the_file_is_raised_where_it_is_awaited(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        with pytest.raises(CorruptLockFile, match=str(path)):
            async with lock:
                pass
        assert not lock.locked()

    path.write_bytes(b"garbage")
    asyncio.run(main())


def test_an_error_that_comes_after_the_wait_is_raised_where_it_is_awaited(path: Path) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.begin(
            "import asyncio\n"
            "async def main():\n"
            "    async with LeaderLock(argv[0]): pass\n"
            "asyncio.run(main())"
        )
        until_parked(path, waiter.pid)
        path.write_bytes(b"garbage")
        other.kill()
        with pytest.raises(ChildError, match="CorruptLockFile"):
            waiter.answer()


def test_a_keyboard_interrupt_ends_a_program_that_waits(path: Path) -> None:
    with holder(path) as other, Child(path) as waiter:
        waiter.begin(
            "import asyncio\n"
            "async def main():\n"
            "    async with LeaderLock(argv[0]): pass\n"
            "asyncio.run(main())"
        )
        until_parked(path, waiter.pid)
        waiter.signal(signal.SIGINT)
        with pytest.raises(ChildError, match="KeyboardInterrupt"):
            waiter.answer()
        assert flocks_of(path) == [(other.pid, False)]


def test_leaving_without_holding_is_an_error(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        async with lock:
            lock.release()
            lock.acquire()
        with pytest.raises(NotHeld):
            await lock.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_block_that_raises_releases(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        with pytest.raises(ZeroDivisionError):
            async with lock:
                raise ZeroDivisionError
        assert not lock.locked()

    asyncio.run(main())


def test_an_anonymous_lock_can_be_awaited_too() -> None:
    async def main() -> None:
        async with LeaderLock.anonymous() as held:
            assert held.locked()

    asyncio.run(main())


def test_async_with_gives_the_lock_itself(path: Path) -> None:
    async def main() -> None:
        lock = LeaderLock(path)
        async with lock as inner:
            assert inner is lock

    asyncio.run(main())


def test_async_with_waits_no_longer_than_its_timeout_for_another_process(path: Path) -> None:
    async def main(child: Child) -> None:
        lock = LeaderLock(path, timeout=0.2)
        begin = time.monotonic()
        with pytest.raises(LockTimeout, match=r"was not acquired within 0\.2 s"):
            async with lock:
                pytest.fail("it is held elsewhere")
        assert time.monotonic() - begin >= 0.2
        assert flocks_of(path) == [(child.pid, False)]
        child.tell("lock.release()")
        async with lock:
            assert lock.term == 2

    with holder(path) as child:
        asyncio.run(main(child))


def test_async_with_waits_no_longer_than_its_timeout_for_its_own_process(path: Path) -> None:
    async def main(limit: float) -> None:
        lock = LeaderLock(path, timeout=limit)
        async with lock:
            with pytest.raises(TimeoutError):
                async with lock:
                    pytest.fail("it is held already")
            assert lock.locked()
        async with lock:
            assert lock.locked()

    asyncio.run(main(0))
    asyncio.run(main(0.05))
