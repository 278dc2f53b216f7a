"""The way of a leader, from the queue to the resignation, walked through before it counts.

CPython learns from the first calls of a function: it specializes its code and fills the caches of
attribute lookups. After a fork each of these writes copies a page that the worker would else share with
its parent. Learnt in the parent, it costs a standby half the memory, and a new leader less time; a
standby whose parent has not learnt it does so itself, before it parks.
"""

from __future__ import annotations

import os
import sys

from leaderlock.election.candidate import Candidate
from leaderlock.election.settings import ElectionSettings
from leaderlock.engines.flock import FlockEngine
from leaderlock.errors import LeaderLockError
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.election.leadership import Leadership

_TIMES = 12
"""CPython specializes a function when it has been called some eight times."""


is_learnt = False
"""By this process or by one that it was forked from."""


def import_for_leader() -> None:
    """Import what a leader needs, before a fork, before rights are dropped, and before it waits.

    The package may be replaced, and this process lose the right to read it, before it leads. It takes
    12 ms, for ctypes and logging, where the program has not imported these.
    """
    log()
    if sys.version_info >= (3, 13):  # a traceback's lines are read by it
        import tokenize  # noqa: F401, PLC0415
    if "asyncio" in sys.modules:  # for `Election.lead`: whoever imports it later can import ours then
        import leaderlock.election.aio.block  # noqa: PLC0415
    try:
        import leaderlock.engines.file_watch  # noqa: PLC0415  (as said)
        import leaderlock.kernel.handlers  # noqa: F401, PLC0415  (for a wait that is called off)
    except ImportError:  # not Linux, or a Python without ctypes: a leader looks when it beats
        return


def rehearse_before_fork() -> None:
    """Elect and resign a few times, in this thread, by a file of no meaning. It takes 2 ms."""
    if is_learnt:
        return
    import_for_leader()
    import tempfile  # noqa: PLC0415  (5 ms, which a server's arbiter has paid already)

    try:
        fd, path = tempfile.mkstemp(prefix="leaderlock-rehearsal-")
    except OSError:  # a full disk, say: the rehearsal is only good for speed
        return
    os.close(fd)
    try:
        _rehearse(lambda: LeaderLock(path))
    finally:
        os.unlink(path)


def rehearse_in_place() -> None:
    """The same, by a file in memory: the steps that look at a path stay to be learnt."""
    if not is_learnt:
        _rehearse(lambda: LeaderLock.anonymous(name="rehearsal"))


def _rehearse(make: Callable[[], LeaderLock]) -> None:
    global is_learnt  # noqa: PLW0603
    is_learnt = True  # or not to be had here
    try:
        engine = FlockEngine(make())
        settings = ElectionSettings(engine, on_return="resign", backoff=(0.001, 0.001))
        settings.is_rehearsal = True
        for _ in range(_TIMES):
            engine.forget_what_is_known()
            Candidate(settings, _lead).campaign(in_foreground=True)
    except LeaderLockError:  # not Linux, no descriptor left, a temporary directory on a network
        return


def _lead(leadership: Leadership) -> None:
    leadership.beat()
