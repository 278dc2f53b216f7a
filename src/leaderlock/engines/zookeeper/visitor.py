"""`Visitor`: a session in ZooKeeper as any client of an election may use it."""

from __future__ import annotations

import time

from kazoo import exceptions as kazoo

from leaderlock.engines.leased.session import Standing
from leaderlock.engines.zookeeper import timing
from leaderlock.engines.zookeeper.connection import Connection
from leaderlock.engines.zookeeper.nodes import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.waiting import Waiting
    from leaderlock.engines.zookeeper.nodes import Candidate, Nodes

USUAL_TICK = 2.0
"""ZooKeeper's default, in seconds: for a session that stands in no election."""


class Visitor:
    """Reads and writes the notes of an election, and looks who leads; connects at the first request.

    Args:
        engine: the engine, for its lease and address.
        nodes: the paths of the election.
        tls: the certificates; None without TLS.
    """

    def __init__(self, engine: LeasedEngine, nodes: Nodes, tls: ssl.SSLContext | None = None) -> None:
        self._engine = engine
        self._tls = tls
        self._nodes = nodes
        self._patience = engine.session / 3
        self._timeout = timing.session_for(engine.session, USUAL_TICK)
        self._connection: Connection | None = None
        self._identity: tuple[int, bytes] | None = None  # of the session that has the claim
        self._waiting: Waiting | None = None  # of `acquire`, while that runs

    def _connect(self, until: float, identity: tuple[int, bytes] | None = None) -> Connection:
        connection = Connection(
            self._engine.location, self._timeout, self._patience / 2, identity, self._tls
        )
        self._connection = connection
        connection.open(until, self._waiting)
        return connection

    def _ask(self, request: Callable[[Any], Any], until: float | None = None) -> Any:
        """See `Connection.ask`; connects first if there is no connection. None: the usual patience."""
        if until is None:
            until = time.monotonic() + self._patience
        return self._connected(until).ask(request, until, self._waiting)

    def _connected(self, until: float) -> Connection:
        connection = self._connection
        if connection is None:
            return self._connect(until)
        if connection.is_closed and self._identity is not None:  # kazoo has given up
            connection.leave(0)
            connection = self._connect(until, self._identity)
            if connection.identity != self._identity:
                connection.is_lost = True
        return connection

    def read(self, note: str) -> bytes | None:
        """See `Session.read`."""
        try:
            data, _ = self._ask(lambda client: client.get_async(self._nodes.note(note)))
        except kazoo.NoNodeError:
            return None
        return bytes(data)

    def write(self, note: str, content: bytes) -> None:
        """See `Session.write`."""
        until = time.monotonic() + self._patience
        path = self._nodes.note(note)
        try:
            self._ask(lambda client: client.set_async(path, content), until)
        except kazoo.NoNodeError:
            try:
                self._ask(lambda client: client.create_async(path, content, makepath=True), until)
            except kazoo.NodeExistsError:  # another client was faster
                self._ask(lambda client: client.set_async(path, content), until)

    def look(self) -> Standing:
        """See `Session.look`."""
        until = time.monotonic() + self._patience
        try:
            _, stat = self._ask(lambda client: client.get_async(self._nodes.path), until)
            candidates = self._candidates()
        except kazoo.NoNodeError:
            return Standing(0, None, None, 0)
        term = stat.mzxid if stat.version else 0  # the first version is older than the first term
        first = self._candidate_at(candidates[0], until) if candidates else None
        if first is None or not first.leads:
            return Standing(term, None, None, len(candidates))
        return Standing(term, first.who, None, len(candidates) - 1)

    def _candidate_at(self, node: str, until: float) -> Candidate | None:
        try:
            data, _ = self._ask(lambda client: client.get_async(node), until)
        except kazoo.NoNodeError:  # it has just resigned
            return None
        return decode(data)

    def _candidates(self) -> list[str]:
        children = self._ask(lambda client: client.get_children_async(self._nodes.path))
        return self._nodes.candidates(children)

    def close(self) -> None:
        """See `Session.close`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._identity is None or connection.is_lost:
            connection.end(self._patience)
        else:
            connection.leave(self._patience)
