"""Chooses the runner of a candidate whose task is a plain function."""

from __future__ import annotations

from leaderlock.election.runners.green import GreenRunner
from leaderlock.election.runners.native import LATE, NATIVE
from leaderlock.kernel.green import hub_here, hub_of_thread
from leaderlock.kernel.threads import is_main_thread, threads_are_green

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.election.runners.runner import Runner
    from leaderlock.kernel.green import Hub

WHERE = ("auto", "native")
"""The values of `thread=`."""


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
