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

from leaderlock.kernel.threads import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from leaderlock.lock.leader_lock import LeaderLock


class _Exit(io.IOBase):
    """Its `__exit__` takes any arguments and calls `close`; the object itself has nothing to close."""

    __slots__ = ("close",)
    closed = True
    close: Callable[[], object]  # type: ignore[assignment]


def _leave(lock: LeaderLock) -> Generator[None, None, None]:
    hold = None
    try:
        yield
        hold = lock._gate.inside  # this block's hold, which no other code can have released yet
        lock._release("released")
    except GeneratorExit:  # the block was never entered
        return
    except BaseException:
        if hold is None:
            hold = lock._gate.inside
        try:
            lock._finish(hold)
        except BaseException:
            start_new_thread(lock._finish, (hold,))  # no handler ever runs in that thread
            raise
        raise


class Leaving:
    """`__exit__` or `__aexit__` of a lock, or of another object that has a block.

    Args:
        result: the result of the method, unless the generator's second step yields a value.
        leave: called with the owner before the block is entered; returns a generator whose second step
            ends the block. In it, GeneratorExit means that the block was never entered, or has ended.
    """

    def __init__(
        self, result: object = None, leave: Callable[[Any], Generator[Any, None, None]] = _leave
    ) -> None:
        self._result = result
        self._leave = leave

    def __get__(self, lock: object, owner: type | None = None) -> Callable[..., Any]:
        if lock is None:
            return lambda lock, *error: self.__get__(lock)(*error)
        steps = self._leave(lock)
        next(steps)
        end = _Exit()
        end.close = functools.partial(next, steps, self._result)
        return end.__exit__


class Nothing:
    """The result of `__aexit__`: an awaitable that is done at once."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield
