"""The end of a `with` block, which no exception of a signal handler may break off.

What does not work: a method of Python code. CPython calls signal handlers as a function begins, before
its first `try`, so a handler that raises then would end the block with the lock held. `threading.Lock`
has no such instant, since its methods are C code.

What works: a generator that waits inside a `try` is resumed inside it. `io`'s `__exit__`, which is C
code and calls `close`, takes the three arguments of a block's end; its `close` resumes the generator.
The generator is made before the lock is acquired.

Its limits: it holds for `with` and `async with`. `contextlib.ExitStack` is Python code of its own, and
breaks off at its own instants.
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
    """Any arguments to its `__exit__`, which calls `close`; there is nothing to close otherwise."""

    __slots__ = ("close",)
    closed = True
    close: Callable[[], object]  # type: ignore[assignment]


def _leave(lock: LeaderLock) -> Generator[None, None, None]:
    hold = None
    try:
        yield
        hold = lock._gate.inside  # this block's, which nobody else can have released by now
        lock._release("released")
    except GeneratorExit:  # the block was never entered
        return
    except BaseException:
        if hold is None:
            hold = lock._gate.inside
        try:
            lock._finish(hold)
        except BaseException:
            start_new_thread(lock._finish, (hold,))  # no handler is ever called in that one
            raise
        raise


class Leaving:
    """`__exit__` or `__aexit__` of a lock, or of whatever has a block.

    Args:
        result: what it returns, unless the second step yields something.
        leave: called with the owner before the block is entered: a generator, whose second step ends
            the block. GeneratorExit says that the block was never entered, or that this is over.
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
    """What `__aexit__` returns: there is nothing left to wait for."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield
