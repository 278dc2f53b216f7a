"""Elections in one Redis server: ``redis://user:password@host:6379/0#name``, or ``rediss://`` for TLS.

One server is one authority. A failover to a replica may forget the leader, so what one server
promises does not hold across it: see `TRAITS`.
"""

from __future__ import annotations

from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.engines.leased.session import Traits
from leaderlock.engines.redis.connections import PARAMETERS, require_native_tls
from leaderlock.engines.redis.session import RedisSession, ServerClock
from leaderlock.kernel.arguments import whole_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.address import Address

TRAITS = Traits(
    frees="a resignation; the end of the lease, by the server's clock",
    speed="resignation: at once; a killed, stopped or cut-off leader: 1.1 leases; a restart of the "
    "server: the leader leads on, and where it has died too, 1.2 leases",
    clock="the rate of the server's clock, and not the time that it shows: after a jump, and where a "
    "new candidate finds a leader that has not resigned, the candidate waits one lease more",
    limits="one server: after a failover to a replica, a leader that still reaches the old primary "
    "leads beside a new one, and terms of the last moments may be unknown",
)


def engine(address: Address, lease: float | None) -> LeasedEngine:
    """The engine of a URL.

    Args:
        address: the URL; its name is the election's.
        lease: seconds; None for the default.

    Raises:
        ValueError: the URL has no name, several hosts, a path that is no number, or an unknown
            parameter; or the lease is too short.
        Unsupported: TLS, in a process that gevent or eventlet has patched.
    """
    require_native_tls(address)
    if not address.name or set(address.name) & set("{}"):
        raise ValueError(
            f"{address.shown}: the URL must end in the election's name, without braces: redis://host/0#name"
        )
    if len(address.hosts) > 1:
        raise ValueError(
            f"{address.shown}: name one server: leaderlock does not elect over several Redis servers"
        )
    database = whole_number(address.path.strip("/") or "0", 2**31 - 1)
    if database is None:
        raise ValueError(f"{address.shown}: {address.path!r} is no number of a database, such as /0")
    known = PARAMETERS if address.scheme == "rediss" else set()
    unknown = set(address.parameters) - known
    if unknown:
        raise ValueError(
            f"{address.shown}: unknown parameter {min(unknown)!r}; known for rediss://: "
            f"{', '.join(sorted(PARAMETERS))}"
        )
    clock = ServerClock()
    return LeasedEngine(
        address,
        lease,
        name=address.name,
        connect=lambda made: RedisSession(made, database, clock),
        traits=TRAITS,
    )
