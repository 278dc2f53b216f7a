"""Servers and frameworks: one small file for each, and here what their hooks share.

gunicorn's hook loads this file in any case. A module of its own would cost the arbiter memory.
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
    """Make the election that a hook is asked for, from the keywords that every hook takes.

    Args:
        task: what the hook is to run.
        name: the lock's name; without a name and a path, `default_name` of the task.
        path: a path in place of the name.
        check: refuses a task of the wrong form.
        default_name: by default it counts the file that calls the hook.
        settings: as for `Election`.

    Raises:
        TypeError, ValueError: an argument is not of its form.
        Unsupported: a lease where there is no such timer, or the URL of an engine.
    """
    check(task)
    if name is None and path is None:
        name = default_name(task)
    return Election(path, name=name, **settings)
