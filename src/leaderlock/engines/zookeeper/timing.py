"""How long a session must last for a lease, and when the lease of a confirmed write begins.

The leading server of the ensemble drops a session when the session's timeout has passed since the
server last *heard* of the session. A write through a follower does not count as that. Instead, about
once in half a tick the follower reports the sessions that it has heard of, and these reports alone move
the expiry (ZooKeeper 3.8: LearnerHandler, PING; SessionTrackerImpl.touchSession). If the follower dies
before its next report, the leading server knows only of our requests from before its last report.

So when a write that was sent at a moment is confirmed, this is certain: the leading server has heard of
the latest of our requests on this connection that were sent at least one tick before that moment. The
connection's first request is certain at once, because the leading server itself opens and reopens
sessions. The session lives at least until that request and the session's timeout.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_BEAT = 0.26
"""The part of a lease between two renewals: a quarter, and one percent for the clocks."""


def session_for(lease: float, tick: float) -> float:
    """The timeout of a session that keeps a lease: the lease, one renewal's pause and one tick."""
    return lease * (1 + _BEAT) + tick


def lease_for(session: float, tick: float) -> float:
    """The longest lease that a session's timeout keeps."""
    return (session - tick) / (1 + _BEAT)


def confirmed(
    sent: float, earlier: Iterable[float], opened: float, *, spare: float, tick: float
) -> float:
    """The moment from which a confirmed write renews the lease.

    Args:
        sent: CLOCK_MONOTONIC when the write was sent.
        earlier: the moments of all requests on this connection.
        opened: the moment of the connection's first request.
        spare: the session's timeout without the lease, in seconds.
        tick: the longest time between two reports of a follower, in seconds.
    """
    heard = max((moment for moment in earlier if moment <= sent - tick), default=opened)
    return min(sent, max(heard, opened) + spare)
