"""The way of a leader, from the queue to the resignation, walked through before a server forks.

CPython learns from the first calls of a function: it specializes its code and fills the caches of
attribute lookups. After a fork each of these writes copies a page that the worker would else share with
its parent. Learnt in the parent, it costs a standby half the memory, and a new leader less time.
"""

from __future__ import annotations

import os
import tempfile

from leaderlock.candidate import Candidate
from leaderlock.election import Election
from leaderlock.errors import LeaderLockError
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.leadership import Leadership

_TIMES = 12
"""CPython specializes a function when it has been called some eight times."""


def rehearse() -> None:
    """Elect and resign a few times, in this thread, by a file of no meaning. It takes 2 ms."""
    try:
        fd, path = tempfile.mkstemp(prefix="leaderlock-rehearsal-")
    except OSError:  # a full disk, say: the rehearsal is only good for speed
        return
    os.close(fd)
    logger = log()
    disabled, logger.disabled = logger.disabled, True  # nobody need hear of this
    try:
        election = Election(path, on_return="resign", backoff=(0.001, 0.001))
        for _ in range(_TIMES):
            election.lock._pid = 0  # as in a forked child, to which it is new
            Candidate(election, _lead).campaign(in_foreground=True)
    except LeaderLockError:  # a temporary directory on a network, say
        return
    finally:
        logger.disabled = disabled
        os.unlink(path)


def _lead(leadership: Leadership) -> None:
    leadership.beat()
