"""The runner of tasks in a native thread: the campaigning thread itself."""

from __future__ import annotations

from leaderlock.kernel.threads import start_new_thread, threads_are_green
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from leaderlock.election.leadership import Leadership

    Result = TypeVar("Result")


class NativeRunner:
    """Runs both halves in the campaigning thread; see `Runner`. `NATIVE` is the only instance."""

    def __init__(self) -> None:
        # In the instance: CPython 3.11 looks an attribute of the class up anew each time.
        self.in_own_thread = True

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """See `Runner.wait`."""
        return function()

    def run(self, function: Callable[[], Result]) -> Result:
        """See `Runner.run`."""
        return function()

    def call(self, task: Callable[[Leadership], Any], leadership: Leadership) -> Any:
        """See `Runner.call`."""
        return task(leadership)

    def note_start(self) -> None:
        """See `Runner.note_start`."""

    def spawn(self, function: Callable[[], object]) -> None:
        """See `Runner.spawn`."""
        start_new_thread(function, ())

    def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
        """See `Runner.end_lease`."""
        leadership._end_lease()

    def can_wait(self) -> bool:
        """See `Runner.can_wait`."""
        return True


NATIVE = NativeRunner()


class LateRunner(NativeRunner):
    """Runs natively: the candidate found no hub when it started. Warns if threads are green now."""

    def note_start(self) -> None:
        """See `Runner.note_start`."""
        if threads_are_green():
            log().warning(
                "the task runs in a native thread, and green threads that it starts never run: start "
                "its candidate after gevent or eventlet has patched this process, in a green thread"
            )


LATE = LateRunner()
