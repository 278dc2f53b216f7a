"""Dry runs of an election, so that CPython's caches are warm before the fork.

CPython specializes a function's code in the first calls, and fills the caches of attribute lookups.
After a fork, each of these writes copies a page that the worker would share with its parent. With a
rehearsal in the parent, a standby needs half the memory, and a new leader less time. If the parent has
not rehearsed, a standby rehearses before it parks.
"""

from __future__ import annotations

import functools
import os
import sys
from types import FunctionType

from leaderlock.election.candidate import Candidate
from leaderlock.election.leadership import Leadership
from leaderlock.election.settings import ElectionSettings
from leaderlock.engines.flock import FlockEngine, FlockTenure
from leaderlock.errors import LeaderLockError
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.wait import Wait
from leaderlock.lock.file import LockFile
from leaderlock.lock.gate import Gate
from leaderlock.lock.gated import Gated, Hold
from leaderlock.lock.leader_lock import LeaderLock
from leaderlock.lock.turn import Turn
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_TIMES = 12
"""Rounds of a rehearsal: CPython specializes a function after some eight calls."""


_STANDBY: tuple[type, ...] = (Candidate, Leadership, FlockTenure, Turn, Gated, Gate)
_STANDBY += (Hold, LockFile, Descriptor, Wait, NativeEvent)
"""The classes whose functions a standby runs."""

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
    _gather()
    try:
        _rehearse(lambda: LeaderLock(path))
    finally:
        os.unlink(path)


def _gather() -> None:
    """Put the functions that a standby runs side by side in memory.

    A call writes to its function (the count of references), and a worker copies each page that it
    writes to. As imported, these functions lie on some fifteen pages, among functions that no standby
    runs; copies that are made one after the other lie on four. That spares each worker 30 KiB.
    """
    copies = []
    for owner in _STANDBY:
        for name, function in vars(owner).items():
            if isinstance(function, FunctionType):
                copy = FunctionType(
                    function.__code__,
                    function.__globals__,
                    name,
                    function.__defaults__,
                    function.__closure__,
                )
                copy.__kwdefaults__ = function.__kwdefaults__
                copies.append((owner, name, functools.update_wrapper(copy, function)))
    for owner, name, wrapped in copies:
        del wrapped.__wrapped__
        setattr(owner, name, wrapped)


def rehearse_in_place() -> None:
    """Rehearse with a file in memory; the steps that look at a path are not rehearsed."""
    if not is_learnt:
        _rehearse(lambda: LeaderLock.anonymous(name="rehearsal"))


def _rehearse(make: Callable[[], LeaderLock]) -> None:
    global is_learnt  # noqa: PLW0603
    is_learnt = True  # set even if the rehearsal fails: a second try would fail too
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
