"""The runners of tasks in green threads, in the hub of gevent or eventlet."""

from __future__ import annotations

from leaderlock.election.runners.native import NativeRunner
from leaderlock.errors import LeadershipLost
from leaderlock.kernel.green import hub_of_thread
from leaderlock.kernel.offload import Outcome, in_native_thread
from leaderlock.kernel.threads import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from leaderlock.election.leadership import Leadership
    from leaderlock.kernel.green import Hub

    Result = TypeVar("Result")


class GreenRunner(NativeRunner):
    """Runs tasks in a hub while a native thread campaigns: for a candidate in the background."""

    def __init__(self, hub: Hub) -> None:
        self.in_own_thread = False
        self._hub = hub

    def run(self, function: Callable[[], Result]) -> Result:
        """Run the function in a green thread; a native caller waits until that thread has ended."""
        if hub_of_thread() is self._hub:
            return function()
        ended = allocate_lock()
        ended.acquire()
        outcome = Outcome(function, ended)
        self._hub.spawn(outcome.find)
        ended.acquire()
        result: Result = outcome.get()
        return result

    def spawn(self, function: Callable[[], object]) -> None:
        """Run the function in a new green thread."""
        self._hub.spawn(function)

    def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
        """Keep the lease after the task has returned: the hub still runs the task's green threads.

        A green thread beats from then on, so the lease shows that the hub is alive.
        """
        switch = leadership._switch
        if switch is None:
            return
        leadership._is_beaten_for = True

        def beat() -> None:
            try:
                while not leadership._stopping.wait(switch.lease / 4):
                    leadership.beat()
            except LeadershipLost:
                lost()

        self.spawn(beat)

    def can_wait(self) -> bool:
        """Whether the caller may wait for a task: the hub itself may not, since it runs the task."""
        return self._hub.is_current() or hub_of_thread() is not self._hub


class ForegroundRunner(GreenRunner):
    """Campaigns and runs the tasks in one green thread; a native thread waits for the election."""

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """Wait in a native thread, while the hub runs on."""
        return in_native_thread(self._hub, function, call_off)
