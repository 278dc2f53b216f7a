"""Placement of a candidate: it begins in the processes that serve, not in a parent of theirs.

A server loads an application in processes that never serve a request: gunicorn's arbiter with
``preload_app``, uWSGI's master without ``lazy-apps``, Celery's main process, the parent of a reloader.
A candidate that is started there would lead in a process that does not serve, with the code of its
start. Also, uWSGI forks without Python's at-fork handlers: if a thread of the master holds the GIL
during the fork, the GIL stays locked in the worker for good. So such a parent starts no thread at all:
its candidate begins later, in each process that serves.

This package recognizes a parent by the modules that the server has loaded and by the functions that
run; it imports nothing for that. It cannot recognize the parent of a plain program that forks: see
`forks`.
"""

from __future__ import annotations

import sys

from leaderlock.election.placement.candidate import PlacedCandidate, log_no_thread
from leaderlock.election.placement.place import Elsewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.election.candidate import Candidate
    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership
    from leaderlock.election.placement.place import Here
    from leaderlock.election.runners.runner import Runner

waiting: list[PlacedCandidate] = []
"""Candidates made in this process, or in a parent that it was forked from, to begin in others."""


def find_place() -> Here | Elsewhere | None:
    """The place where a candidate of this process begins; None in a program that no server runs.

    Raises:
        Unsupported: this is uWSGI, and its settings let no candidate begin anywhere.
    """
    if "uwsgi" in sys.modules:
        from leaderlock.election.placement import uwsgi  # noqa: PLC0415  (in uWSGI only)

        return uwsgi.find_place()
    if "gunicorn.arbiter" in sys.modules:
        from leaderlock.election.placement import gunicorn  # noqa: PLC0415  (in gunicorn only)

        place = gunicorn.find_place()
        if place is not None:
            return place
    if sys.modules.keys() & _OTHERS:
        from leaderlock.election.placement import parents  # noqa: PLC0415  (in these only)

        return parents.find_place()
    return None


_OTHERS = {"celery", "django", "flask.cli", "hypercorn.run", "sanic", "uvicorn.server"}


def stand_elsewhere(
    election: Election, task: Callable[[Leadership], object], place: Elsewhere
) -> PlacedCandidate:
    """Make a candidate that begins in the processes that serve."""
    candidate = PlacedCandidate(election, task)
    waiting.append(candidate)
    place.put(candidate)
    return candidate


def take_over(election: Election, task: Callable[[Leadership], object]) -> Candidate | None:
    """Begin the waiting candidate of this election and task now, in this process; None if none waits.

    A preloaded application and a hook that starts the same task after the fork so make one candidate.
    """
    for candidate in waiting:
        if candidate.is_to_begin_here() and candidate.stands_for(election, task):
            candidate.begin()
            return candidate
    return None


def stand_here(
    election: Election, task: Callable[[Leadership], object], runner: Runner | None = None
) -> Candidate | None:
    """Stand in this process, for a server; None, and a line in the log, if no thread is left."""
    try:
        if waiting and (candidate := take_over(election, task)):
            return candidate
        return election.start_unchecked(task, runner)
    except RuntimeError as error:  # the system has no thread left
        log_no_thread(error)
        return None
