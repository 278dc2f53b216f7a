"""`LeasedEngine`: an engine on the network, made of an address, a lease and the maker of sessions."""

from __future__ import annotations

import math
import os
import socket
import time

from leaderlock.engines.leased import deadline
from leaderlock.engines.leased.tenure import LeasedTenure
from leaderlock.kernel.arguments import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.address import Address
    from leaderlock.engines.engine import Engine
    from leaderlock.engines.leased.session import Session, Traits

    Who = dict[str, str | int | float]

DEFAULT_LEASE = 15.0
"""Seconds."""

LIFE = 0.97
"""The part of a lease after which a leader that has not renewed is killed. One percent is for clocks
that tick at different rates, the rest for the death itself: of the process, and of its command."""

SHORTEST_LEASE = 1.0
"""Seconds. A renewal every quarter of the lease must have time to fail and to be repeated."""


class LeasedEngine:
    """The elections of one name in an engine whose sessions end unless they are renewed.

    Args:
        address: the URL.
        lease: seconds after the last confirmed renewal at which the kernel kills a leader; the engine
            lets the next candidate lead afterwards. None: 15 seconds.
        name: the election's name within the engine.
        connect: makes a session for the process that calls it.
        traits: the engine's characteristics.
        shortest: the shortest lease that the engine can keep, in seconds.

    Raises:
        ValueError: the lease is too short for the engine, or not finite.

    Attributes:
        session: see `Engine.session`: the lease.
    """

    def __init__(
        self,
        address: Address,
        lease: float | None,
        *,
        name: str,
        connect: Callable[[LeasedEngine], Session],
        traits: Traits,
        shortest: float = SHORTEST_LEASE,
    ) -> None:
        self.session = DEFAULT_LEASE if lease is None else number("lease", lease, "a number of seconds")
        if not (shortest <= self.session < math.inf):
            raise ValueError(
                f"{address.shown}: the lease must be at least {shortest:g} s, not {self.session!r}: a "
                f"renewal every quarter of a lease must have time to fail and to be repeated"
            )
        self.location = address
        self.name = name
        self.traits = traits
        self._connect = connect

    @property
    def life(self) -> float:
        """Seconds after the last confirmed renewal at which the kernel kills a leader."""
        return LIFE * self.session

    @property
    def address(self) -> str:
        """The URL for messages, without any password."""
        return self.location.shown

    def connect(self) -> Session:
        """A new session, which belongs to this process; it connects at its first use."""
        return self._connect(self)

    def require_usable(self) -> None:
        """See `Engine.require_usable`; the server is not asked, since it may come later."""
        deadline.require_timer()

    def import_for_term(self) -> None:
        """See `Engine.import_for_term`; all is imported already, with the engine's client."""

    def tenure(self) -> LeasedTenure:
        """See `Engine.tenure`."""
        return LeasedTenure(self)

    def is_same(self, other: Engine) -> bool:
        """See `Engine.is_same`."""
        return isinstance(other, LeasedEngine) and self.location.url == other.location.url

    def is_called(self, name: str) -> bool:
        """See `Engine.is_called`."""
        return name in (self.name, self.location.url, self.address)

    def who(self) -> Who:
        """This process's description of itself, for the engine's record."""
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.time(),
            "lease": self.session,
        }
