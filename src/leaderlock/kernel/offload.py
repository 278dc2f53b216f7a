"""Runs a blocking function in a native thread, while a green thread waits through its hub."""

from __future__ import annotations

from leaderlock.kernel.green import hub_here
from leaderlock.kernel.native_thread import NativeThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from leaderlock.kernel.event import Waiter
    from leaderlock.kernel.green import Hub

    Result = TypeVar("Result")


def in_native_thread(
    hub: Hub, function: Callable[[], Result], call_off: Callable[[], object]
) -> Result:
    """Run a function in a native thread, while this green thread waits through its hub.

    If an exception interrupts the caller (KeyboardInterrupt, a green thread that is killed), `call_off`
    is called, and `function` ends before the exception leaves `in_native_thread`.

    Raises:
        NoThreadLeft: the system starts no more threads.
    """
    ended = hub.event()
    outcome = Outcome(function, ended)
    # The function may be a whole campaign, whose task starts processes: these inherit the signal mask.
    thread = NativeThread(outcome.find, takes_signals=True)
    thread.start()
    try:
        ended.acquire()
    except BaseException:
        call_off()
        thread.wait()
        raise
    result: Result = outcome.get()
    return result


class Outcome:
    """The result or the exception of a function in another thread; `ended` is released at its end."""

    _result: object

    def __init__(self, function: Callable[[], object], ended: Waiter) -> None:
        self._function = function
        self._ended = ended
        self._error: BaseException | None = None

    def find(self) -> None:
        """Call the function. The hub sees SystemExit and KeyboardInterrupt too: they end programs."""
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception) and hub_here() is not None:
                raise
        finally:
            self._ended.release()

    def get(self) -> Any:
        """The function's result.

        Raises:
            BaseException: the function has raised it.
        """
        if self._error is not None:
            raise self._error
        return self._result
