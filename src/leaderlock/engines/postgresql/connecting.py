"""Makes a connection, with the settings that an election needs on both sides."""

from __future__ import annotations

import time

from leaderlock.engines.postgresql import statements
from leaderlock.engines.postgresql.link import Link
from leaderlock.errors import EngineUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.postgresql.link import Ready
    from leaderlock.engines.postgresql.servers import Servers

OLDEST = 14
"""The version that brought idle_session_timeout, and with it the end of a session that is cut off."""

_LONGEST_PROBE = 3600
"""Seconds between two probes of a silent connection; tcp(7) takes at most 32767."""

_LONGEST = 2_000_000_000
"""Milliseconds; the server's settings are 32-bit integers."""

SLICE = 300.0
"""Seconds of one wait for a lock. A statement that waits holds VACUUM back, as any that runs does."""


def connect(servers: Servers, lease: float, until: float | None, waits: Ready, *, idle: float) -> Link:
    """Connect, and refuse a server that cannot hold an election.

    Args:
        servers: the ways to connect.
        lease: seconds; each call on the connection ends within a third of them.
        until: CLOCK_MONOTONIC at which the attempt ends; None: after a third of the lease.
        waits: see `Link`.
        idle: seconds without a statement after which the server ends the session.

    Raises:
        EngineUnreachable: no server answers in time.
        EngineUnusable: a server refuses, is too old, or is a connection pooler.
    """
    if until is None:
        until = time.monotonic() + lease / 3
    probe = int(min(max(lease / 3, 1), _LONGEST_PROBE))
    lost = milliseconds(lease)
    link = Link(servers, lease / 3, waits)
    try:
        link.open(
            until,
            client_encoding="utf8",
            keepalives=1,
            keepalives_idle=probe,
            keepalives_interval=probe,
            keepalives_count=2,
            tcp_user_timeout=lost,
        )
        if link.server_version < OLDEST * 10000:
            raise EngineUnusable(
                f"{servers.address.shown}: this server's version is {link.server_version // 10000}; "
                f"elections need PostgreSQL {OLDEST} or later, which ends the session of a client "
                f"that is cut off (idle_session_timeout)"
            )
        set_up = statements.SET_UP.format(
            slice=milliseconds(SLICE),
            idle=milliseconds(idle),
            probe=probe,
            lost=lost,
            check=milliseconds(lease),
        )
        if link.query(set_up, until=until) != [(str(link.backend_pid),)]:
            raise EngineUnusable(
                f"{servers.address.shown}: a connection pooler, such as PgBouncer, stands before the "
                f"server. In transaction mode it gives each statement another session, and a lock "
                f"belongs to a session: connect to the server's own port"
            )
    except BaseException:
        link.close()
        raise
    return link


def milliseconds(seconds: float) -> int:
    """A time for a setting of the server."""
    return int(min(seconds * 1000, _LONGEST))
