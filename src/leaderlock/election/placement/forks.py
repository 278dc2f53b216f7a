"""Warnings for a plain program that forks: the forked process is no candidate.

Nothing distinguishes such a program from one that serves itself, so its candidate stands in the process
that started it. A forked process has none of the parent's threads: there the candidate is stopped, and
never takes over.
"""

from __future__ import annotations

import os
import sys
from _weakrefset import WeakSet  # what `weakref.WeakSet` is: 0.3 ms less

from leaderlock.election.at_exit import candidates
from leaderlock.errors import LeaderLockError
from leaderlock.kernel.green import here
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.election.candidate import Candidate
    from leaderlock.lock.leader_lock import LeaderLock

_IS_RELOADED = "true" in (os.environ.get("WERKZEUG_RUN_MAIN"), os.environ.get("RUN_MAIN"))
"""Whether a reloader started this process: Werkzeug's or Django's, by the environment."""

_watched: WeakSet[Candidate] = WeakSet()
_is_registered = False
_said_by = 0
"""The PID of the process that has logged the warning; each process logs it once."""


def watch_forks(candidate: Candidate) -> None:
    """Log a warning, once, when this process forks while the candidate stands in it.

    A child of `multiprocessing` logs no warning, since it is a worker already. A fork by `subprocess`,
    which executes another program, does not count, and a fork by the task itself does not count.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return
    global _is_registered  # noqa: PLW0603
    if not _is_registered and hasattr(os, "register_at_fork"):
        _is_registered = True
        os.register_at_fork(after_in_parent=_say_once)
    _watched.add(candidate)


def _say_once() -> None:
    global _said_by  # noqa: PLW0603
    if _said_by == os.getpid() or sys._getframe(1).f_globals.get("__name__") == "subprocess":
        return
    for candidate in list(candidates):  # a copy in one step: their threads change it
        if candidate in _watched and candidate._pid == os.getpid() and candidate._thread != here():
            _said_by = os.getpid()
            log().warning(
                "process %d forks while it stands for %s: the forked process does not stand, and will "
                "not take over. To have it stand, start its candidate in it, after the fork (call the "
                "function under only_once, or Election.start, there)",
                os.getpid(),
                candidate.address,
            )
            return


def say_if_parent_leads(lock: LeaderLock) -> None:
    """In a process that a reloader has started: log a warning if the reloader itself leads.

    The reloader has imported the same program, and would lead with the code of its start while it runs.
    """
    if not _IS_RELOADED:
        return
    try:
        holder = lock.holder()
    except LeaderLockError:  # the candidate will log it
        return
    if holder is not None and holder.pid == os.getppid():
        log().warning(
            "process %d, the parent of the reloader, leads %s with the code of its start: start the "
            "candidate under `if is_running_from_reloader():` (from werkzeug.serving)",
            holder.pid,
            lock.path,
        )
