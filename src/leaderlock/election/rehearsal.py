"""Dry runs of an election, so that CPython's caches are warm before the fork.

CPython specializes a function's code in the first calls, and fills the caches of attribute lookups.
After a fork, each of these writes copies a page that the worker would share with its parent. With a
rehearsal in the parent, a standby needs half the memory, and a new leader less time. If the parent has
not rehearsed, a standby rehearses before it parks.
"""

from __future__ import annotations

import os
import sys

from leaderlock.election.settings import ElectionSettings
from leaderlock.election.starting import start_candidate
from leaderlock.engines.flock import FlockEngine
from leaderlock.errors import LeaderLockError
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.election.leadership import Leadership


_TIMES = 12
"""Rounds of a rehearsal: CPython specializes a function after some eight calls."""


is_learnt = False
"""Whether this process, or one that it was forked from, has rehearsed."""


def import_for_leader() -> None:
    """Import what a leader needs, before a fork, before rights are dropped, and before it waits.

    Before this process leads, the package may be replaced, or the process may lose the right to read
    it. The import takes 6 ms, for logging, if the program has not imported that. The engine imports the
    rest: `Engine.import_for_term`.
    """
    log()
    if sys.version_info >= (3, 13):  # reads the lines of a traceback
        import tokenize  # noqa: F401, PLC0415
    if "asyncio" in sys.modules:  # for `Election.lead`; a later user of asyncio imports ours then
        import leaderlock.election.aio.block  # noqa: F401, PLC0415


def rehearse_before_fork() -> None:
    """Elect and resign a few times, in this thread, with a temporary file: 2 ms in all."""
    if is_learnt:
        return
    import_for_leader()
    FlockEngine.import_for_term()
    import tempfile  # noqa: PLC0415  (5 ms; a server's arbiter has imported it already)

    try:
        fd, path = tempfile.mkstemp(prefix="leaderlock-rehearsal-")
    except OSError:  # a full disk, for example: the rehearsal only serves speed
        return
    os.close(fd)
    try:
        _rehearse(lambda: LeaderLock(path), lambda leadership: leadership.beat())
    finally:
        os.unlink(path)


def rehearse_in_place() -> None:
    """Rehearse with a file in memory: not the steps that look at a path, nor those after the begin.

    Only this process profits, and it pays for each page of each step that it rehearses.
    """
    if not is_learnt:
        _rehearse(lambda: LeaderLock.anonymous(name="rehearsal"), lambda leadership: None)


def _rehearse(make: Callable[[], LeaderLock], task: Callable[[Leadership], object]) -> None:
    global is_learnt  # noqa: PLW0603
    is_learnt = True  # set even if the rehearsal fails: a second try would fail too
    try:
        engine = FlockEngine(make())
        settings = ElectionSettings(engine, on_return="resign", backoff=(0.001, 0.001))
        settings.is_rehearsal = True
        for _ in range(_TIMES):
            engine.forget_what_is_known()
            start_candidate(settings, task, start=_in_this_thread)
    except LeaderLockError:  # not Linux, no descriptor left, a temporary directory on a network
        return


def _in_this_thread(campaign: Callable[..., object], _: tuple[()]) -> None:
    campaign(in_foreground=True)
