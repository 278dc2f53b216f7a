"""Elections in PostgreSQL: a row is the authority, and an advisory lock wakes the next candidate."""

from __future__ import annotations

import functools

from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.engines.leased.session import Traits
from leaderlock.engines.postgresql.servers import Servers
from leaderlock.engines.postgresql.session import PostgresSession

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

TRAITS = Traits(
    frees="the end of the leader's process or container, a cut link, a stopped process, a resignation; "
    "a restart or crash of the server leaves the leader leading",
    speed="after a resignation at once; otherwise one lease after the leader's last renewal, or after "
    "a restart or promotion of the server, if the leader does not return",
    clock="the server's clock and CLOCK_MONOTONIC of each machine run at one rate, to one percent; "
    "no clock needs to show the right time",
    limits="a promotion is safe only if the standby replicates synchronously: an asynchronous standby "
    "may not know the latest term. A connection pooler is refused, since the lock belongs to a session",
)


def engine(address: Address, lease: float | None) -> LeasedEngine:
    """The elections of a URL ``postgresql://user:password@host1,host2/database?parameters#name``.

    Args:
        address: the URL; its parameters are those of libpq.
        lease: seconds; None for the default.

    Raises:
        ValueError: the URL names no election, or libpq does not know a parameter.
    """
    if not address.name or "\0" in address.name:
        raise ValueError(
            f"{address.shown}: name the election behind #: postgresql://user@host/database#health"
        )
    servers = Servers(address)
    return LeasedEngine(
        address,
        lease,
        name=address.name,
        connect=functools.partial(PostgresSession, servers),
        traits=TRAITS,
    )
