"""The leadership that the calling code works under, and whether this process leads."""

from __future__ import annotations

import os
from _contextvars import ContextVar  # what `contextvars.ContextVar` is: 0.6 ms less

from leaderlock.errors import LeadershipLost, LockFileUnusable
from leaderlock.kernel.arguments import path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.election.leadership import Leadership

current: ContextVar[Leadership | None] = ContextVar("leaderlock_leadership", default=None)
"""The leadership of the task that runs in this thread and context."""

of_this_process: list[Leadership] = []

# For speed: see "How it is built". Looked up later, each costs a new leader two pages.
set_current = current.set
note_leading = of_this_process.append


def current_leadership() -> Leadership | None:
    """The leadership that the calling code works under, or None if this process does not lead.

    In a task's own thread (and its context, so in coroutines that the task runs), the result is the
    task's leadership. In other code of the process, such as in the threads of a scheduler that a task
    has started, the result is the process's leadership if the process has exactly one.
    """
    leadership = current.get()
    if leadership is None and len(of_this_process) == 1:
        leadership = of_this_process[0]
    if leadership is None or leadership._pid != os.getpid() or leadership not in of_this_process:
        return None
    return leadership


def is_leader(name: str | os.PathLike[str] | None = None) -> bool:
    """Whether this process leads now. Any code of the process may call this, in a request, for example.

    A process leads from its election to its resignation, also after the task has returned, if the
    leadership is kept, and while a task that was asked to stop still runs. A forked child of the leader
    does not lead. A standby's answer costs next to nothing; a leader's answer costs some 10
    microseconds: like `Leadership.check`, the call checks that the path still names the locked file.

    The answer was true when it was given. Work that two processes must not do needs the fencing token,
    `Leadership.term`, or `Leadership.check`.

    Args:
        name: the name of a lock, or the path of its file; None: whether the process leads any lock.

    Raises:
        TypeError, ValueError: name is neither a string nor a path, or is empty.
    """
    wanted = None if name is None else path_text(name, "a lock", "name")
    return any(
        (wanted is None or leadership._engine.is_called(wanted)) and _leads(leadership)
        for leadership in list(of_this_process)
    )


def _leads(leadership: Leadership) -> bool:
    try:
        leadership.check()
    except LeadershipLost:
        return False
    except LockFileUnusable:  # the path cannot be read, but the lock is still held
        return True
    return not leadership.lost


def _forget_in_child() -> None:
    for leadership in of_this_process:
        leadership._stopping.set_in_forked_child()
    of_this_process.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
