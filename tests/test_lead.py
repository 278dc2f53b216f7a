"""`async with election.lead()`: a coroutine leads for a block, and its loop runs on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio

from leaderlock import Election, LeadershipLost, LockFileUnusable, Unsupported, current_leadership
from leaderlock.election.aio.block import every
from leaderlock.election.at_exit import candidates
from tests.processes import Child, flocks_of, holder, threads_of, until, until_parked


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), 120))
    assert not candidates


async def until_soon(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, condition, what)


async def lead_on(election: Election, began: asyncio.Event | None = None) -> None:
    async with election.lead():
        if began is not None:
            began.set()
        await asyncio.Event().wait()


def test_the_block_leads_and_resigns_at_its_end(path: Path) -> None:
    async def main() -> None:
        election = Election(path)
        for term in (1, 2):
            assert current_leadership() is None
            async with election.lead() as leadership:
                assert current_leadership() is leadership
                assert leadership.term == term
                leadership.check()
                assert flocks_of(path) == [(os.getpid(), False)]
            assert flocks_of(path) == []
            assert leadership.stopping.is_set()
        assert current_leadership() is None

    run(main)


def test_the_loop_runs_on_while_it_waits_and_it_takes_over_from_who_is_killed(path: Path) -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        waiting = asyncio.create_task(lead_on(Election(path), began := asyncio.Event()))
        await until_soon(lambda: (os.getpid(), True) in flocks_of(path), "it to queue")
        at_begin = ticks
        await until_soon(lambda: ticks > at_begin + 20, "the loop to run on")
        assert not began.is_set()
        await asyncio.to_thread(other.kill)
        await began.wait()
        for task in (ticking, waiting):
            task.cancel()
        await asyncio.wait([ticking, waiting])
        assert waiting.cancelled()
        assert flocks_of(path) == []

    with holder(path) as other:
        run(main)


def test_a_cancelled_wait_leaves_nothing_behind(path: Path) -> None:
    async def main() -> None:
        before = len(threads_of())
        waiting = asyncio.create_task(lead_on(Election(path)))
        while (os.getpid(), True) not in flocks_of(path):
            await asyncio.sleep(0.002)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert flocks_of(path) == [(other.pid, False)]
        while len(threads_of()) > before:
            await asyncio.sleep(0.002)

    with holder(path) as other:
        run(main)


def test_a_cancellation_at_any_instant_leaves_nothing_behind(path: Path) -> None:
    async def main() -> None:
        election = Election(path)
        chance = random.Random(6)
        for _ in range(60):
            tasks = [asyncio.create_task(lead_on(election)) for _ in range(2)]
            await asyncio.sleep(chance.random() * 0.004)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert all(task.cancelled() for task in tasks)
        assert flocks_of(path) == []
        async with election.lead():
            pass

    run(main)


def test_coroutines_and_threads_lead_one_at_a_time(path: Path) -> None:
    inside = 0

    async def lead(election: Election) -> None:
        nonlocal inside
        async with election.lead():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    async def main() -> None:
        one, other = Election(path), Election(path)
        await asyncio.gather(*(lead(one) for _ in range(10)), *(lead(other) for _ in range(10)))

    run(main)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, asyncio.CancelledError])
def test_a_block_that_raises_resigns(path: Path, error: type[BaseException]) -> None:
    async def main() -> None:
        with pytest.raises(error):
            async with Election(path).lead():
                raise error
        assert flocks_of(path) == []

    run(main)


def test_a_block_whose_leadership_is_lost_is_cancelled_and_says_so(path: Path) -> None:
    async def main() -> None:
        async def body() -> None:
            async with Election(path).lead():
                path.unlink()
                await asyncio.Event().wait()

        with pytest.raises(LeadershipLost, match=str(path)):
            await body()
        task = asyncio.current_task()
        assert task is not None
        if hasattr(task, "cancelling"):
            assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main)


def test_a_block_that_does_not_notice_the_loss_is_told_at_its_end(path: Path) -> None:
    async def main() -> None:
        async with Election(path).lead() as leadership:
            path.unlink()
            with pytest.raises(LeadershipLost):
                leadership.beat()

    with pytest.raises(LeadershipLost):
        run(main)


def test_who_cancels_a_block_that_is_lost_as_well_sees_it_cancelled(path: Path) -> None:
    async def main() -> None:
        async def body() -> None:
            async with Election(path).lead() as leadership:
                began.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.shield(finished.wait())
                assert leadership.lost

        began, finished = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(body())
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        path.unlink()
        while not task.done():  # the loss cancels it a second time
            await asyncio.sleep(0.002)
        assert task.cancelled()

    if hasattr(asyncio.Task, "cancelling"):  # Python 3.10 cannot tell
        run(main)


def test_the_callbacks_of_the_election_are_called(path: Path) -> None:
    calls: list[str] = []
    election = Election(
        path,
        on_elected=lambda _: calls.append("elected"),
        on_resigned=lambda _: calls.append("resigned"),
    )

    async def main() -> None:
        async with election.lead():
            calls.append("block")

    run(main)
    assert calls == ["elected", "block", "resigned"]


def test_a_lock_that_cannot_be_used_is_an_error_at_the_begin(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(LockFileUnusable, match="nowhere"):
            async with Election(tmp_path / "nowhere" / "lock").lead():
                pytest.fail("it led")

    run(main)


def test_under_trio_the_error_says_what_is_missing(path: Path) -> None:
    async def main() -> None:
        async with Election(path).lead():
            pytest.fail("it led")

    with pytest.raises(Unsupported, match="asyncio"):
        trio.run(main)


def stop_as_it_queues(loop: asyncio.AbstractEventLoop, path: Path) -> asyncio.Task[None]:
    """Have a coroutine stand in a loop that does not run any more."""
    waiting = loop.create_task(lead_on(Election(path)))
    loop.run_until_complete(asyncio.sleep(0))
    while (os.getpid(), True) not in flocks_of(path):
        loop.run_until_complete(asyncio.sleep(0.002))
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    return waiting


def test_a_loop_that_is_closed_meanwhile_does_not_leave_a_leader(path: Path) -> None:
    with holder(path) as other:
        loop = asyncio.new_event_loop()
        waiting = stop_as_it_queues(loop, path)
        loop.close()
        other.tell("lock.release()")
        until(lambda: flocks_of(path) == [] and not candidates, "the candidate to end")
        del waiting
        gc.collect()


def win_and_post(loop: asyncio.AbstractEventLoop, other: Child) -> None:
    """Let a candidate win whose loop does not run, and has the news waiting for it."""
    before = len(loop._ready)  # type: ignore[attr-defined]
    other.tell("lock.release()")
    until(lambda: len(loop._ready) > before, "the news")  # type: ignore[attr-defined]


def test_a_loop_that_is_closed_with_the_news_unread_does_not_leave_a_leader(path: Path) -> None:
    with holder(path) as other:
        loop = asyncio.new_event_loop()
        waiting = stop_as_it_queues(loop, path)
        win_and_post(loop, other)
        assert flocks_of(path) == [(os.getpid(), False)]
        loop.close()
        until(lambda: flocks_of(path) == [] and not candidates, "the candidate to end")
        del waiting
        gc.collect()


def test_news_that_a_loop_has_lost_comes_again(path: Path) -> None:
    with holder(path) as other:
        loop = asyncio.new_event_loop()
        waiting = stop_as_it_queues(loop, path)
        win_and_post(loop, other)
        loop._ready.clear()  # type: ignore[attr-defined]  # as when a handler raises in asyncio's code
        until(lambda: loop._ready, "the news to come again")  # type: ignore[attr-defined]
        loop.call_soon(waiting.cancel)  # after the news
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(waiting)
        loop.close()
    assert flocks_of(path) == []
    assert not candidates


def test_a_coroutine_that_its_loop_has_lost_resigns_when_it_is_collected(path: Path) -> None:
    loop = asyncio.new_event_loop()
    began = asyncio.Event()
    leading = loop.create_task(lead_on(Election(path), began))
    loop.run_until_complete(began.wait())
    assert flocks_of(path) == [(os.getpid(), False)]
    leading._log_destroy_pending = False  # type: ignore[attr-defined]
    del leading
    gc.collect()
    until(lambda: flocks_of(path) == [] and not candidates, "the candidate to end")
    loop.close()


PROGRAM = """
import asyncio
from leaderlock import Election
async def main():
    async with Election(argv[0], lease=float(argv[1])).lead() as leadership:
        {}
"""


def tell(child: Child, *lines: str) -> None:
    body = "\n        ".join(lines)
    child.begin(PROGRAM.format(body) + "asyncio.run(main())")


def test_a_block_that_blocks_the_loop_is_killed_at_the_end_of_the_lease(path: Path) -> None:
    with Child(path, "0.5") as child:
        tell(child, "time.sleep(600)")
        assert child.wait() == -signal.SIGKILL


def test_a_block_that_merely_waits_outlives_its_lease_and_after_it_there_is_none(path: Path) -> None:
    with Child(path, "1.5") as child:
        tell(child, "await asyncio.sleep(3)")
        assert child.answer() is None
        assert child.tell("time.sleep(2)") is None
        assert child.end() == 0


def test_a_program_that_exits_within_the_block_does_so_at_once(path: Path) -> None:
    with Child(path, "60") as child:
        child.begin(
            "import asyncio\n"
            "from leaderlock import Election\n"
            "loop = asyncio.new_event_loop()\n"
            "block = Election(argv[0]).lead()\n"
            "loop.run_until_complete(block.__aenter__())\n"
        )
        assert child.answer() is None
        assert flocks_of(path) == [(child.pid, False)]
        with Child(path, "60") as waiter:
            waiter.begin("lock = LeaderLock(argv[0]); lock.acquire(); lock.release()")
            until_parked(path, waiter.pid)
            threading.Timer(0, child.end).start()
            assert waiter.answer() is None
            assert child.wait() == 0


def test_every_ticks_until_the_block_ends_it(path: Path) -> None:
    async def main() -> None:
        async with Election(path, lease=60).lead() as leadership:
            seen = []
            async for tick in every(leadership, 0.01):
                seen.append(tick)
                if len(seen) == 5:
                    break
            assert seen[0] == 0
            assert seen == sorted(set(seen))
            async for _ in every(leadership, 0.01):
                leadership._stopping.set()  # as at the interpreter's exit
            assert leadership.stopping.is_set()

    with pytest.raises(asyncio.CancelledError):
        run(main)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_ticks_of_no_length_are_refused(path: Path, seconds: float) -> None:
    async def main() -> None:
        async with Election(path).lead() as leadership:
            with pytest.raises(ValueError, match="positive"):
                every(leadership, seconds)

    run(main)
