"""A function that blocks, run in a native thread while a green thread waits for it by its hub."""

from __future__ import annotations

from typing import Generic, TypeVar

from leaderlock.kernel.green import hub_here
from leaderlock.kernel.threads import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.event import Waiter
    from leaderlock.kernel.green import Hub

Result = TypeVar("Result")


def in_native_thread(
    hub: Hub, function: Callable[[], Result], call_off: Callable[[], object]
) -> Result:
    """Run a function in a native thread, while this green thread waits by its hub.

    If the caller is interrupted (KeyboardInterrupt, a green thread that is killed), the function is
    called off, and has ended when the exception goes on.

    Raises:
        RuntimeError: the system has no thread left.
    """
    ended = hub.event()
    outcome = Outcome(function, ended)
    has_ended = allocate_lock()
    has_ended.acquire()

    def work() -> None:
        outcome.find()
        has_ended.release()

    start_new_thread(work, ())
    try:
        ended.acquire()
    except BaseException:
        call_off()
        has_ended.acquire()
        raise
    return outcome.get()


class Outcome(Generic[Result]):
    """What a function has returned or raised in another thread; `ended` is released then."""

    _result: Result

    def __init__(self, function: Callable[[], Result], ended: Waiter) -> None:
        self._function = function
        self._ended = ended
        self._error: BaseException | None = None

    def find(self) -> None:
        """Call the function. What ends a program (SystemExit, KeyboardInterrupt) the hub sees too."""
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception) and hub_here() is not None:
                raise
        finally:
            self._ended.release()

    def get(self) -> Result:
        """The result.

        Raises:
            BaseException: what the function has raised.
        """
        if self._error is not None:
            raise self._error
        return self._result
