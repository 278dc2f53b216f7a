"""Runners: they choose the thread for a campaign's two halves, the wait for the lock and the task.

The wait blocks, so it needs a native thread. The task runs where the process's other work runs: in a
native thread or, where gevent or eventlet has patched `threading`, as a green thread of the hub. There,
all threads that the task starts are green as well, and the same hub runs them.
"""

from __future__ import annotations

from leaderlock.errors import LeadershipLost
from leaderlock.kernel.green import hub_here, hub_of_thread
from leaderlock.kernel.offload import Outcome, in_native_thread
from leaderlock.kernel.threads import (
    allocate_lock,
    is_main_thread,
    start_new_thread,
    threads_are_green,
)
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from leaderlock.election.leadership import Leadership
    from leaderlock.kernel.green import Hub

    Result = TypeVar("Result")

WHERE = ("auto", "native")
"""The values of `thread=`."""


class Runner:
    """Runs both halves in the campaigning thread, a native one; `NATIVE` is the only instance.

    Attributes:
        hub: the hub that runs the task; None if the task runs in a native thread.
    """

    hub: Hub | None = None

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """Run a function that blocks; if the caller is interrupted, cancel the call and await it."""
        return function()

    def run(self, function: Callable[[], Result]) -> Result:
        """Run a function of the task; return its result or raise its exception.

        Raises:
            HubIsGone: the hub ended before the function began.
        """
        return function()

    def spawn(self, function: Callable[[], object]) -> None:
        """Run a function of the task in a thread beside the task."""
        start_new_thread(function, ())

    def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
        """End the task's lease after the task has returned."""
        leadership._end_lease()

    def can_wait(self) -> bool:
        """Whether the caller may wait for a task."""
        return True


NATIVE = Runner()


class LateRunner(Runner):
    """Runs natively: the candidate found no hub when it started. Warns if threads are green now."""

    def run(self, function: Callable[[], Result]) -> Result:
        """Run the function in the calling thread."""
        if threads_are_green():
            log().warning(
                "the task runs in a native thread, and green threads that it starts never run: start "
                "its candidate after gevent or eventlet has patched this process, in a green thread"
            )
        return function()


LATE = LateRunner()


class GreenRunner(Runner):
    """Runs tasks in a hub while a native thread campaigns: for a candidate in the background."""

    def __init__(self, hub: Hub) -> None:
        self.hub: Hub = hub

    def run(self, function: Callable[[], Result]) -> Result:
        """Run the function in a green thread; a native caller waits until that thread has ended."""
        if hub_of_thread() is self.hub:
            return function()
        ended = allocate_lock()
        ended.acquire()
        outcome = Outcome(function, ended)
        self.hub.spawn(outcome.find)
        ended.acquire()
        return outcome.get()

    def spawn(self, function: Callable[[], object]) -> None:
        """Run the function in a new green thread."""
        self.hub.spawn(function)

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
        return self.hub.is_current() or hub_of_thread() is not self.hub


class ForegroundRunner(GreenRunner):
    """Campaigns and runs the tasks in one green thread; a native thread waits for the lock."""

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """Wait in a native thread, while the hub runs on."""
        return in_native_thread(self.hub, function, call_off)


def runner_for(task: object, thread: str) -> Runner:
    """The runner of a candidate that the caller starts in the background."""
    if thread == "native" or getattr(task, "thread", None) == "native":
        return NATIVE
    if not threads_are_green():
        return LATE
    hub = hub_of_thread(create=is_main_thread())
    return LATE if hub is None else GreenRunner(hub)


def foreground_hub() -> Hub | None:
    """The hub of a green thread that campaigns itself; None if the caller is a native thread."""
    return hub_here(create=is_main_thread())
