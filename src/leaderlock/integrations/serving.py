"""A task of a web application: runs in one of the processes that serve the application.

A framework also loads an application in processes that never serve a request: the parent of prefork
workers, the parent of a reloader, a shell, a migration. None of them may lead.
"""

from __future__ import annotations

import os
import sys

from leaderlock.election.placement import stand_here
from leaderlock.integrations import hook_election
from leaderlock.lock.naming import own_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.settings import Settings


class ServedTask:
    """A task and, if this process serves, its candidate.

    Args:
        task: a function of one argument, the `Leadership`.
        prepared: a function that runs in place of the task; by default the task itself.
        name: the lock's name. The default is made of the task's name and its file's path.
        path: in place of the name, a path, or the URL of an engine.
        settings: the same as for `Election`.

    Raises:
        TypeError, ValueError: an argument is invalid.
        Unsupported: this system lacks the timer of a lease, or no engine takes the URL.
    """

    def __init__(
        self,
        task: Callable[[Leadership], object],
        *,
        prepared: Callable[[Leadership], object] | None = None,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        if getattr(task, "thread", None) == "native":  # `prepared` lacks the task's attribute
            settings["thread"] = "native"
        self.run = task if prepared is None else prepared
        self.election = hook_election(task, name, path, default_name=own_name, **settings)
        self._claims: dict[int, object] = {}

    def stand(self) -> None:
        """Stand for election in this process, unless it already does."""
        mine = object()
        # One atomic step, since several threads may get the first requests at once.
        if self._claims.setdefault(os.getpid(), mine) is not mine:
            return
        stand_here(self.election, self.run)

    begin = stand

    def adopt(self) -> None:
        """Do nothing: no state here belongs to one process."""

    def stand_in_workers(self) -> bool:
        """Stand in each worker of gunicorn or uWSGI when it is ready; call this while the app loads.

        Returns:
            True if that is enough, as under uWSGI. Otherwise each process must stand at its first
            request at the latest.
        """
        if "uwsgi" in sys.modules:
            from leaderlock.election.placement import uwsgi  # noqa: PLC0415  (only under uWSGI)

            if uwsgi.stand_in_workers(self):
                return True
        if "gunicorn.arbiter" in sys.modules:
            from leaderlock.election.placement import gunicorn  # noqa: PLC0415  (only under gunicorn)

            worker = gunicorn.loading_worker()
            if worker is not None:
                gunicorn.when_ready(worker, self.stand)
            else:  # preload_app
                gunicorn.begin_in_workers(self)
        return False
