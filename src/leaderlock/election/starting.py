"""Starts a candidate in a native background thread."""

from __future__ import annotations

import _thread
import sys

from leaderlock.election.at_exit import candidates, stop_at_multiprocessing_exit
from leaderlock.election.candidate import Candidate
from leaderlock.election.runners.choice import runner_for
from leaderlock.kernel.threads import no_thread, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners.runner import Runner
    from leaderlock.election.settings import ElectionSettings

_BUILTIN: object = type(len)
_modules = sys.modules


def start_candidate(
    settings: ElectionSettings,
    task: Callable[[Leadership], object],
    runner: Runner | None = None,
    candidate: Candidate | None = None,
    *,
    start: Callable[..., object] = start_new_thread,
) -> Candidate:
    """`Election.start` for servers: a lock that cannot be used is logged, and tried again.

    Keep this function short: each step in a worker copies pages that it shares with its parent.

    Args:
        settings, task: of the election.
        runner: where the task runs; None: where the process's own work runs.
        candidate: a candidate that was made before, of this election and task.
        start: starts the thread; a rehearsal calls the function in its own thread instead.

    Raises:
        NoThreadLeft: the system starts no more threads.
    """
    if candidate is None:
        if runner is None:
            is_patched = type(_thread.start_new_thread) is not _BUILTIN
            runner = runner_for(task, settings.thread) if is_patched else settings.runner
        candidate = Candidate(settings, task, runner)
    candidates.add(candidate)
    # For speed: see "How it is built". Without multiprocessing, this needs no call.
    if "multiprocessing.process" in _modules:
        stop_at_multiprocessing_exit()
    try:
        start(candidate.campaign, ())
    except RuntimeError as error:
        candidates.discard(candidate)
        raise no_thread(error) from error.__cause__
    return candidate
