"""Finds the engine of a URL: one of ours, or one that another distribution registers.

Another distribution registers an engine as an entry point of the group ``leaderlock.engines``. The
entry point's name is the URL's scheme. Its object is a function of an `Address` and a lease in seconds
(None for the engine's default) that returns an `Engine`.
"""

from __future__ import annotations

from leaderlock.engines.address import Address
from leaderlock.errors import Unsupported
from leaderlock.wording import suggestion

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Engine
    from leaderlock.engines.leased.engine import LeasedEngine

GROUP = "leaderlock.engines"

ENGINES = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "zookeeper": "zookeeper",
    "zookeepers": "zookeeper",
    "etcd": "etcd",
    "etcds": "etcd",
    "redis": "redis",
    "rediss": "redis",
}
"""The module of each scheme."""

_EXTRAS = {"postgresql": "psycopg", "zookeeper": "kazoo", "redis": "redis"}
"""The client that each engine's extra installs."""


def engine_of(url: str, lease: float | None = None) -> Engine:
    """The engine of a URL. Its client is imported now, before a process forks or drops its rights.

    Args:
        url: the URL of the election.
        lease: seconds; None for the engine's default.

    Raises:
        ValueError: the URL is incomplete, or the lease is too short for the engine.
        Unsupported: no engine has this scheme, or its client is not installed.
    """
    address = Address(url)
    module = ENGINES.get(address.scheme)
    if module is None:
        return _registered(address)(address, lease)
    import importlib  # noqa: PLC0415  (only elections in an engine)

    try:
        room = importlib.import_module(f"leaderlock.engines.{module}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != _EXTRAS.get(module):
            raise
        raise Unsupported(
            f"{address.shown}: this needs the package {error.name}: pip install 'leaderlock[{module}]'"
        ) from error
    engine: Engine = room.engine(address, lease)
    return engine


def leased_engine_of(url: str, lease: float | None = None, *, without: str) -> LeasedEngine:
    """The engine of a URL, for a use that needs sessions and notes; raises the errors of `engine_of`.

    Args:
        url, lease: as for `engine_of`.
        without: what an engine that has none of these does, for the message of `Unsupported`.
    """
    from leaderlock.engines.leased.engine import LeasedEngine  # noqa: PLC0415  (only elections in an engine)

    engine = engine_of(url, lease)
    if not isinstance(engine, LeasedEngine):
        raise Unsupported(f"{engine.address}: this engine {without}")
    return engine


def _registered(address: Address) -> Callable[[Address, float | None], Engine]:
    from importlib.metadata import entry_points  # noqa: PLC0415  (only engines of other distributions)

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    entry = found.get(address.scheme)
    if entry is None:
        known = sorted({*ENGINES, *found})
        hint = suggestion(address.scheme, known) or f"; known: {', '.join(known)}"
        raise Unsupported(f"{address.shown}: there is no engine {address.scheme!r}{hint}")
    try:
        make: Callable[[Address, float | None], Engine] = entry.load()
    except ImportError as error:
        raise Unsupported(
            f"{address.shown}: the engine {entry.value} cannot be imported: {error}"
        ) from error
    return make
