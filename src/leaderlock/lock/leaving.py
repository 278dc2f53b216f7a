"""The end of a `with` block, which no exception of a signal handler may interrupt.

A method of Python code does not work: CPython calls signal handlers as a function begins, before its
first `try`, so a handler that raises there would end the block with the lock held. `threading.Lock` has
no such instant, since its methods are C code.

A generator works: one that waits inside a `try` is resumed inside the `try`. `io`'s `__exit__` is C
code, takes the three arguments of a block's end and calls `close`; our `close` resumes the generator.
The generator is made before the lock is acquired.

Limits: the guarantee holds for `with` and `async with`. `contextlib.ExitStack` is Python code, and can
be interrupted at instants of its own.
"""

from __future__ import annotations

import functools
import io
from _weakref import ref  # what `weakref.ref` is, without the rest of its module

from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from leaderlock.lock.leader_lock import LeaderLock


class _Exit(io.IOBase):
    """Its `__exit__` takes any arguments and calls `close`; the object itself has nothing to close."""

    __slots__ = ("close", "locks", "steps")
    closed = True
    close: Callable[[], object]  # type: ignore[assignment]
    locks: list[LeaderLock | None]
    steps: Any  # a generator


class LeavingLock:
    """`__exit__` or `__aexit__` of a lock.

    For speed (see "How it is built"), the block's end is used again for a later block, of any lock.

    Args:
        result: the result of the method.
    """

    def __init__(self, result: object = None) -> None:
        self._result = result
        self._spare: dict[int, _Exit] = {}  # at most one; a dictionary's `pop` is a single step

    def __get__(self, lock: LeaderLock | None, owner: type | None = None) -> Callable[..., Any]:
        if lock is None:
            return lambda lock, *error: self.__get__(lock)(*error)
        end = self._spare.pop(0, None)
        if end is None or end.steps.gi_running:  # running: without a GIL, its block has just ended
            end = _Exit()
            end.locks = [None]
            # A weak reference: a block that is never entered must not keep its lock alive.
            end.steps = self._leave(end.locks, ref(end))
            end.close = functools.partial(next, end.steps)
            next(end.steps)
        end.locks[0] = lock
        return end.__exit__

    def _leave(self, locks: list[Any], this: Callable[[], Any]) -> Generator[object, None, None]:
        """End the block of `locks[0]` at each step. To read that is no call, so no handler runs."""
        end = hold = None
        spare, result = self._spare, self._result
        try:
            yield None
            while True:
                hold = locks[0]._gate.inside  # this block's, which no other code can have released yet
                locks[0]._release("released")
                locks[0] = hold = None
                end = this()
                # Once it is spare, other code may use it. So there is no call, and no jump back, until
                # it waits: no other thread and no handler runs.
                if not spare:
                    spare[0] = end
                end = None
                yield result
        except GeneratorExit:  # the block was never entered
            return
        except BaseException:
            lock = locks[0]
            if lock is None:  # it was released
                raise
            if hold is None:
                hold = lock._gate.inside
            try:
                lock._finish(hold)
            except BaseException:
                start_new_thread(lock._finish, (hold,))  # no handler ever runs in that thread
                raise
            raise


class Leaving:
    """`__aexit__` of another object that has a block.

    Args:
        leave: called with the owner before the block is entered; returns a generator whose second step
            ends the block, and yields the result. In it, GeneratorExit means that the block was never
            entered, or has ended.
    """

    def __init__(self, leave: Callable[[Any], Generator[Any, None, None]]) -> None:
        self._leave = leave

    def __get__(self, owner: object, kind: type | None = None) -> Callable[..., Any]:
        if owner is None:
            return lambda owner, *error: self.__get__(owner)(*error)
        steps = self._leave(owner)
        next(steps)
        end = _Exit()
        end.close = functools.partial(next, steps)
        return end.__exit__


class Nothing:
    """The result of `__aexit__`: an awaitable that is done at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield
