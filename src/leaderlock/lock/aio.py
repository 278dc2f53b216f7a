"""`async with lock`: while a coroutine waits, a native thread is parked in the kernel for it.

The thread exists only while processes contend for the flock; coroutines and threads of one process
queue at the lock's gate, without a thread.
"""

from __future__ import annotations

import functools
import time

from leaderlock.kernel.native_thread import NativeThread
from leaderlock.kernel.posted import post
from leaderlock.kernel.wait import Wait
from leaderlock.lock.acquisition import Hold
from leaderlock.lock.gate import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from leaderlock.lock.leader_lock import LeaderLock


async def acquire(lock: LeaderLock, hold: Hold, limit: float | None = None) -> bool:
    """Acquire `lock` without blocking the event loop; cancelling leaves nothing behind.

    Args:
        hold: a new hold; the caller finishes it if an exception is raised.
        limit: the longest wait in seconds; None waits without limit.
    """
    gate = lock._own_gate()
    deadline = None if limit is None else time.monotonic() + limit
    if await _enter(gate, hold, limit) and (hold.take(0, None) or await _park(gate, hold, deadline)):
        hold.is_held = True
        return True
    gate.leave(hold)
    return False


async def _park(gate: Gate, hold: Hold, deadline: float | None) -> bool:
    limit = None if deadline is None else deadline - time.monotonic()
    if limit is not None and limit <= 0:
        return False
    import asyncio  # noqa: PLC0415  (whose loop runs; plain locks need none of it)

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bool] = loop.create_future()
    wait = Wait()
    tell: Callable[[], object]

    def park() -> None:
        nonlocal tell
        try:
            held = hold.take(limit, wait)
        except BaseException as error:  # noqa: BLE001  (raised in the coroutine that awaits it)
            tell = functools.partial(answer.set_exception, error)
        else:
            tell = functools.partial(answer.set_result, held)

    def report() -> None:
        try:
            post(loop, lambda: answer.done() or tell(), functools.partial(_leave, gate, hold))
        except RuntimeError:  # the loop was closed: the answer will never be read
            gate.leave(hold)

    thread = NativeThread(park, report)
    try:
        thread.start()
        return await answer
    except BaseException:  # cancelled, or the loop is being closed, or no thread is left
        if thread.has_started:
            wait.cancel()
            thread.wait()  # for the thread's last steps, so that its result is known
        raise


async def _enter(gate: Gate, hold: Hold, limit: float | None) -> bool:
    import asyncio  # noqa: PLC0415  (whose loop runs; plain locks need none of it)

    loop = asyncio.get_running_loop()
    granted: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not granted.done():
            granted.set_result(None)

    def wake() -> None:
        try:
            post(loop, tell, functools.partial(_leave, gate, hold))
        except RuntimeError:  # the loop was closed while the coroutine waited: it never resumes
            gate.leave(hold)

    hold.wake = wake
    if gate.join(hold):
        return True
    timer = None if limit is None else loop.call_later(limit, tell)
    try:
        await granted
    finally:
        if timer is not None:
            timer.cancel()
    return gate.inside is hold  # or the time has passed


def _leave(gate: Gate, hold: Hold) -> None:
    """Leave the gate: the loop was closed, so the coroutine of this wait will never run again."""
    if not hold.is_held:
        gate.leave(hold)
