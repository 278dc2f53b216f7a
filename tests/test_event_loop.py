"""Calls that wait, in a coroutine: they raise at once, name what to write, and block no loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio
import uvloop

from leaderlock import BlocksEventLoop, Election, LeaderLockError, Leadership, is_leader
from leaderlock.election.runners.loop import LoopRunner, coroutine_task
from tests.processes import PATIENCE, holder, run_task, until

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {
    "asyncio": asyncio.run,
    "uvloop": uvloop.run,
}
in_each_loop = pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)

CALLS: dict[str, tuple[Callable[[Leadership], object], str]] = {
    "for": (lambda leadership: list(leadership.every(1)), r"async for _ in leadership\.every\(1\)"),
    "next": (lambda leadership: next(leadership.every(1)), r"async for _ in leadership\.every\(1\)"),
    "wait": (lambda leadership: leadership.wait(5), r"await asyncio\.sleep\(5\)"),
    "stopping": (lambda leadership: leadership.stopping.wait(), r"await asyncio\.sleep"),
    "stopping, 3 s": (lambda leadership: leadership.stopping.wait(3), "async for"),
}
each_call = pytest.mark.parametrize(("call", "says"), CALLS.values(), ids=CALLS)


@in_each_loop
@each_call
def test_what_would_block_the_loop_raises_at_once_and_names_the_right_form(
    path: Path,
    run: Callable[[Coroutine[Any, Any, None]], None],
    call: Callable[[Leadership], object],
    says: str,
) -> None:
    async def main() -> None:
        async with Election(path).lead() as leadership:
            with pytest.raises(BlocksEventLoop, match=says) as caught:
                call(leadership)
            assert isinstance(caught.value, (LeaderLockError, RuntimeError))

    run(main())


@each_call
def test_under_trio_too(path: Path, call: Callable[[Leadership], object], says: str) -> None:
    seen: list[Leadership] = []

    def task(leadership: Leadership) -> None:
        seen.append(leadership)
        leadership.stopping.wait()

    async def main() -> None:
        with pytest.raises(BlocksEventLoop, match=says.replace("asyncio", "trio")):
            call(seen[0])
        ticks = []
        async for tick in seen[0].every(0.01):
            ticks.append(tick)
            if tick >= 2:
                break
        assert ticks[0] == 0
        assert ticks == sorted(set(ticks))

    candidate = Election(path).start(task)
    until(lambda: seen, "it to lead")
    trio.run(main)
    assert candidate.stop(PATIENCE)


@each_call
def test_a_thread_beside_the_loop_may_wait(
    path: Path, call: Callable[[Leadership], object], says: str
) -> None:
    async def main() -> None:
        election = Election(path)
        async with election.lead() as leadership:
            thread = threading.Thread(target=call, args=[leadership])
            thread.start()
            await asyncio.sleep(0)
        await asyncio.to_thread(thread.join)  # a `next`, at once; the others at the end of the block

    asyncio.run(main())


@in_each_loop
def test_async_for_ticks_beats_and_leaves_out_what_was_missed(
    path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def main() -> None:
        ticks: list[int] = []
        async with Election(path, lease=5).lead() as leadership:
            # Longer than the lease: the loop beats, and so a tick may be as rare as it likes.
            assert [tick async for tick in _first(leadership, 60)] == [0]
            begin = time.monotonic()
            async for tick in leadership.every(0.05):
                ticks.append(tick)
                if len(ticks) == 2:
                    await asyncio.sleep(0.2)
                if len(ticks) == 4:
                    break
            # uvloop counts in whole milliseconds, and may wake up that much too early.
            assert time.monotonic() - begin >= ticks[-1] * 0.05 - 0.002
        assert ticks[0] == 0
        assert ticks[2] - ticks[1] >= 4, "those that were missed are left out"
        assert [tick async for tick in leadership.every(1)] == [], "the term is over"

    run(main())


async def _first(leadership: Leadership, seconds: float) -> Any:
    async for tick in leadership.every(seconds):
        yield tick
        return


def test_a_coroutine_task_is_told_at_once_and_its_loop_runs_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def export(leadership: Leadership) -> None:
        for _ in leadership.every(1):
            raise AssertionError("it has ticked")

    async def main() -> None:
        election = Election(path, backoff=(60, 60))
        runner = LoopRunner(asyncio.get_running_loop())
        candidate = election.start_unchecked(coroutine_task(export), runner)
        while "async for _ in leadership.every(1)" not in caplog.text:
            await asyncio.sleep(0.01)  # which the loop does
        await asyncio.to_thread(candidate.stop)

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert "the task failed in term 1" in caplog.text


def test_ticks_of_one_object_go_on(path: Path) -> None:
    ticks: list[int] = []

    def task(leadership: Leadership) -> None:
        every = leadership.every(0.01)
        ticks.append(next(every))
        for tick in every:
            ticks.append(tick)
            return

    run_task(Election(path, on_return="resign"), task)
    assert ticks[0] == 0
    assert ticks[1] >= 1


def test_waiting_for_a_candidate_in_a_coroutine_is_refused_unless_nothing_is_waited_for(
    path: Path,
) -> None:
    async def main() -> None:
        candidate = Election(path).start(lambda leadership: leadership.wait(600))
        with pytest.raises(BlocksEventLoop, match=r"asyncio\.to_thread\(candidate\.wait\)"):
            candidate.wait()
        with pytest.raises(BlocksEventLoop):
            candidate.wait(3)
        assert not candidate.wait(0)
        other.kill()
        assert await asyncio.to_thread(candidate.wait)
        assert candidate.wait(), "it leads already"
        assert candidate.stop(PATIENCE), "at a shutdown: it lasts as long as the task needs to stop"

    with holder(path) as other:
        asyncio.run(main())


def test_run_in_a_coroutine_is_refused_and_nothing_waits(path: Path) -> None:
    async def main() -> None:
        with pytest.raises(BlocksEventLoop, match=r"async with election\.lead\(\)"):
            Election(path).run(lambda leadership: None)
        assert not is_leader()

    asyncio.run(main())
    assert not path.exists()
