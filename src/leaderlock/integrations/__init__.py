"""Servers and frameworks: one small file for each; this file holds the code that their hooks share.

The shared code is here, since gunicorn's hook loads this file anyway, and another module would cost the
arbiter memory.
"""

from __future__ import annotations

import os

from leaderlock.election.election import Election
from leaderlock.election.task import require_task
from leaderlock.lock.naming import name_by_caller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from leaderlock.election.settings import Settings


def hook_election(
    task: Callable[..., object],
    name: str | None,
    path: str | os.PathLike[str] | None,
    *,
    check: Callable[[Callable[..., object]], object] = require_task,
    default_name: Callable[[Callable[..., object]], str] = name_by_caller,
    **settings: Unpack[Settings],
) -> Election:
    """Make the election for a hook, from the keywords that every hook takes.

    Args:
        task: the function that the hook runs.
        name: the lock's name; without a name and a path, `default_name` makes one from the task.
        path: in place of the name, a path, or the URL of an engine.
        check: refuses a task of the wrong form.
        default_name: makes a name from the task; by default also from the path of the calling file.
        settings: the same as for `Election`.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL.
    """
    check(task)
    if name is None and path is None:
        name = default_name(task)
    return Election(path, name=name, **settings)
