"""`Runner`: the interface between a candidate and the place where its task runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeVar

    from leaderlock.election.leadership import Leadership

    Result = TypeVar("Result")

    class Runner(Protocol):
        """Runs the two halves of a campaign: the wait for the election, and the term.

        Attributes:
            in_own_thread: whether the campaigning thread, a native one, runs both halves.
        """

        @property
        def in_own_thread(self) -> bool:
            """Whether the campaigning thread, a native one, runs both halves."""

        def wait(self, function: Callable[[], Result], call_off: Callable[[], object]) -> Result:
            """Run a function that blocks; if interrupted, cancel the call and await its end."""

        def note_start(self) -> None:
            """In a term, soon after the task has begun: log what is wrong with the place."""

        def run(self, function: Callable[[], Result]) -> Result:
            """Run a term, or a callback after the term; return the result or raise the exception.

            The campaigning thread itself runs a term if `in_own_thread`, without a call of this.

            Raises:
                HubIsGone: the hub ended before the function began.
            """

        def call(self, task: Callable[[Leadership], Any], leadership: Leadership) -> Any:
            """In a term: run the task to its end; return its result or raise its exception."""

        def spawn(self, function: Callable[[], object]) -> None:
            """In a term: run a function beside the task."""

        def end_lease(self, leadership: Leadership, lost: Callable[[], object]) -> None:
            """End the task's lease after the task has returned.

            Args:
                leadership: the leadership, which the process keeps.
                lost: called if the leadership is lost later.
            """

        def can_wait(self) -> bool:
            """Whether the caller may wait for a task: the thread that runs the task may not."""
