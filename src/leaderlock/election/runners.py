"""Where a campaign's two halves run: the wait for the lock, and the task of each term.

The wait blocks, so it needs a native thread. The task runs where the process's other work runs: in a
native thread or, where gevent or eventlet has patched `threading`, as a green thread of the hub. There,
whatever the task starts is green as well, and lives by that hub.
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
"""What `thread=` takes."""


class Runner:
    """Both halves run in the thread that campaigns, a native one; `NATIVE` is the one there is.

    Attributes:
        hub: by which the task runs; None if it runs in a native thread.
    """

    hub: Hub | None = None

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """Run what blocks; if the caller is interrupted, it is called off, and has ended."""
        return function()

    def run(self, function: Callable[[], Result]) -> Result:
        """Run what belongs to the task, and return or raise what it does.

        Raises:
            HubIsGone: it was never begun.
        """
        return function()

    def spawn(self, function: Callable[[], object]) -> None:
        """Begin what belongs to the task, beside it."""
        start_new_thread(function, ())

    def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
        """The task has returned: its lease ends."""
        leadership._end_lease()

    def can_wait(self) -> bool:
        """Whether the caller may wait for a task."""
        return True


NATIVE = Runner()


class LateRunner(Runner):
    """Native, since no hub was found as the candidate started; says so if threads are green now."""

    def run(self, function: Callable[[], Result]) -> Result:
        """Run it here."""
        if threads_are_green():
            log().warning(
                "the task runs in a native thread, and green threads that it starts never run: start "
                "its candidate after gevent or eventlet has patched this process, in a green thread"
            )
        return function()


LATE = LateRunner()


class GreenRunner(Runner):
    """A native thread campaigns, and the tasks run in a hub: for a candidate in the background."""

    def __init__(self, hub: Hub) -> None:
        self.hub: Hub = hub

    def run(self, function: Callable[[], Result]) -> Result:
        """Run it in a green thread; a native caller waits until that has ended."""
        if hub_of_thread() is self.hub:
            return function()
        ended = allocate_lock()
        ended.acquire()
        outcome = Outcome(function, ended)
        self.hub.spawn(outcome.find)
        ended.acquire()
        return outcome.get()

    def spawn(self, function: Callable[[], object]) -> None:
        """Begin a green thread."""
        self.hub.spawn(function)

    def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
        """The task has returned, and what it started lives by the hub.

        So the lease goes on, and says that the hub lives: a green thread beats.
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
        """Whether the caller may wait for a task: the hub itself cannot, which has to run it."""
        return self.hub.is_current() or hub_of_thread() is not self.hub


class ForegroundRunner(GreenRunner):
    """A green thread campaigns, and runs the tasks itself; a native thread waits in its place."""

    def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
        """Let a native thread wait, while the hub runs on."""
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
    """The hub of a caller that campaigns itself, if it is a green thread."""
    return hub_here(create=is_main_thread())
