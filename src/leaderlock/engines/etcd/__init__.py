"""Elections in etcd, through the JSON gateway of its v3 API (etcd 3.4 or newer), without a client.

``etcd://user:password@h1:2379,h2,h3/app/health``: the path is the election's key. ``etcds://``
uses TLS.
"""

from __future__ import annotations

import functools

from leaderlock.engines.etcd.candidacy import Sighting
from leaderlock.engines.etcd.connection import Connection
from leaderlock.engines.etcd.key import NOTES
from leaderlock.engines.etcd.names import encoded
from leaderlock.engines.etcd.session import EtcdSession
from leaderlock.engines.leased.engine import LeasedEngine
from leaderlock.engines.leased.session import Traits
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.address import Address

TRAITS = Traits(
    frees="a resignation deletes the key at once; if the process or its machine has died, is stopped, "
    "is stuck or is cut off from etcd, its lease ends by the count of the candidates, or by etcd's",
    speed="after a resignation milliseconds; in all other cases 1.1 leases after the last renewal; for "
    "a candidate that has come since then, the lease in whole seconds (rounded up; at least 2 s with "
    "etcd's default settings) and up to half a second",
    clock="the clocks of the candidates' machines and of etcd's leading member tick at the same rate, "
    "to one percent; the time of day does not matter",
    limits="a restored backup takes the terms back; a cluster without a majority renews nothing: the "
    "leader ends with its lease, and nobody leads until the majority is back",
)


def engine(address: Address, lease: float | None) -> LeasedEngine:
    """The engine of a URL.

    Raises:
        ValueError: the URL is incomplete, or the lease is too short.
    """
    key = address.path
    if len(key) < 2 or key.endswith("/"):
        raise ValueError(
            f"{address.shown}: the path is the election's key: etcd://host:2379/app/health"
        )
    if NOTES in key + "/":
        raise ValueError(f"{address.shown}: keys with {NOTES} hold the notes of elections")
    if address.name:
        raise ValueError(
            f"{address.shown}: the path names the election here, and no #{printable(address.name)}"
        )
    address.require_known_parameters("etcds")
    for host, _ in address.hosts:
        try:
            encoded(host)  # now, since a name that is not ASCII imports a codec
        except UnicodeError as error:
            raise ValueError(f"{address.shown}: {host!r} cannot be the name of a host") from error
    connection, sighting = _connection(address), Sighting()
    return LeasedEngine(
        address,
        lease,
        name=key,
        connect=lambda made: EtcdSession(made, connection, sighting),
        traits=TRAITS,
    )


def _connection(address: Address) -> Callable[[str], Connection]:
    if address.scheme != "etcds":
        return lambda _host: Connection()
    # 3 MB for OpenSSL, before any fork.
    from leaderlock.engines.certificates import context_of  # noqa: PLC0415
    from leaderlock.engines.etcd.tls import TlsConnection  # noqa: PLC0415

    return functools.partial(TlsConnection, context_of(address))
