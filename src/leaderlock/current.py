"""Which leadership the calling code works under."""

from __future__ import annotations

import os
from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.leadership import Leadership

current: ContextVar[Leadership | None] = ContextVar("leaderlock_leadership", default=None)
"""A task's, in its own thread and context."""

of_this_process: list[Leadership] = []


def current_leadership() -> Leadership | None:
    """The leadership that the calling code works under, or None if this process does not lead.

    In a task's own thread (and its context, so in coroutines that it runs) that is the task's.
    Elsewhere in the process, such as in the threads of a scheduler that a task has started, it is the
    process's leadership if it has exactly one.
    """
    leadership = current.get()
    if leadership is None and len(of_this_process) == 1:
        leadership = of_this_process[0]
    if leadership is None or leadership._pid != os.getpid() or leadership not in of_this_process:
        return None
    return leadership


def _forget_in_child() -> None:
    for leadership in of_this_process:
        leadership._stopping.set_in_forked_child()
    of_this_process.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
