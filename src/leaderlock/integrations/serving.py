"""A task of a web application, in one of the processes that serve it.

A framework loads an application in many a process that never serves a request: the parent of prefork
workers, that of a reloader, a shell, a migration. None of those may lead.
"""

from __future__ import annotations

import os
import sys

from leaderlock.integrations import hook_election
from leaderlock.lock.naming import own_name
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.settings import Settings


class ServedTask:
    """A task and its candidate in this process, if that serves.

    Args:
        task: a function of one argument, the `Leadership`.
        prepared: what to run in its place, if that is not the task itself.
        name: the lock's name. By default it is made of the task's name and its file's path.
        path: a path in place of the name.
        settings: as for `Election`.

    Raises:
        TypeError, ValueError: an argument is not of its form.
        Unsupported: a lease where there is no such timer, or the URL of an engine.
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
        if getattr(task, "thread", None) == "native":  # what is prepared does not say so
            settings["thread"] = "native"
        self.run = task if prepared is None else prepared
        self.election = hook_election(task, name, path, default_name=own_name, **settings)
        self._claims: dict[int, object] = {}

    def stand(self) -> None:
        """Stand for election in this process, if it does not yet."""
        mine = object()
        # One step, as the first requests may come in several threads at once.
        if self._claims.setdefault(os.getpid(), mine) is not mine:
            return
        try:
            self.election.start_unchecked(self.run)
        except RuntimeError as error:  # the system has no thread left
            log().error("process %d does not stand for election: %s", os.getpid(), error)

    begin = stand

    def adopt(self) -> None:
        """Nothing of it belongs to one process."""

    def stand_in_workers(self) -> bool:
        """Stand in each worker of gunicorn or uWSGI, once it is ready; to be called as the app loads.

        Returns:
            True if nothing more is to be done, as this is uWSGI. Else whoever serves a request stands
            then, at the latest.
        """
        if "uwsgi" in sys.modules:
            from leaderlock.election.placement import uwsgi  # noqa: PLC0415  (there alone)

            if uwsgi.stand_in_workers(self):
                return True
        if "gunicorn.arbiter" in sys.modules:
            from leaderlock.election.placement import gunicorn  # noqa: PLC0415  (there alone)

            worker = gunicorn.loading_worker()
            if worker is not None:
                gunicorn.when_ready(worker, self.stand)
            else:  # preload_app
                gunicorn.begin_in_workers(self)
        return False
