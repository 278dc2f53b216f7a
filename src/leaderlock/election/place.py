"""The place of an election, as its caller names it: a file, a name, or the URL of an engine."""

from __future__ import annotations

from leaderlock.engines.flock import FlockEngine
from leaderlock.engines.urls import is_url
from leaderlock.lock.leader_lock import LeaderLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from leaderlock.engines.engine import Engine


class Place:
    """An engine, and the lock's file on this machine, if the election has one.

    Attributes:
        keywords: the arguments of `Election` that name the place again.
    """

    def __init__(self, engine: Engine, lock: LeaderLock | None, keywords: dict[str, Any]) -> None:
        self.engine = engine
        self.lock = lock
        self.keywords = keywords


def find_engine(
    lock: str | os.PathLike[str] | LeaderLock | None,
    name: str | None = None,
    *,
    lease: float | None = None,
    within: str | os.PathLike[str] | None = None,
) -> Place:
    """The engine of an election.

    Args:
        lock, name, lease, within: as for `Election`.

    Raises:
        TypeError, ValueError: the arguments do not name one place.
        Unsupported: there is no engine for the URL, or its client is not installed.
    """
    if isinstance(lock, LeaderLock):
        if name is not None:
            raise TypeError("Election takes a lock or name=, one of the two")
    elif isinstance(lock, str) and is_url(lock):
        return _in_engine(lock, name, lease, within)
    else:
        lock = LeaderLock(lock, name=name)
    if within is not None:
        raise TypeError(
            "within= is for an election by the URL of an engine; a lock's file is local already"
        )
    return Place(FlockEngine(lock), lock, {"lock": lock})


def _in_engine(
    url: str, name: str | None, lease: float | None, within: str | os.PathLike[str] | None
) -> Place:
    # Only elections in an engine need these.
    from leaderlock.engines.catalogue import engine_of, leased_engine_of  # noqa: PLC0415

    if name is not None:
        raise TypeError("Election takes a URL or name=, one of the two")
    if within is None:
        return Place(engine_of(url, lease), None, {"lock": url})
    from leaderlock.engines.tiers import TieredEngine  # noqa: PLC0415  (only such elections)

    engine = leased_engine_of(url, lease, without="has no sessions, so within= has no use")
    local = LeaderLock(within)
    return Place(TieredEngine(local, engine), local, {"lock": url, "within": within})
