"""`ZooKeeperSession`: one candidate's session in ZooKeeper, and the claim that it keeps."""

from __future__ import annotations

import time
import uuid

from kazoo import exceptions as kazoo

from leaderlock.engines.leased.session import Claim
from leaderlock.engines.zookeeper import timing
from leaderlock.engines.zookeeper.connection import Connection
from leaderlock.engines.zookeeper.nodes import MARK, Candidate, decode
from leaderlock.engines.zookeeper.visitor import USUAL_TICK, Visitor
from leaderlock.errors import EngineUnreachable, EngineUnusable, LeadershipLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.waiting import Waiting
    from leaderlock.engines.zookeeper.handler import Wire
    from leaderlock.engines.zookeeper.nodes import Nodes

_TRIES = 5
"""Number of tries to take a node over, while late requests of the dead leader still arrive."""


class ZooKeeperSession(Visitor):
    """See `Session`.

    Args:
        engine: the engine, for its lease and address.
        nodes: the paths of the election.
    """

    def __init__(self, engine: LeasedEngine, nodes: Nodes, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(engine, nodes, tls)
        self._tick = USUAL_TICK
        self._candidate = Candidate(uuid.uuid4().hex, engine.who())
        self._node = ""
        self._version = 0

    def acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """See `Session.acquire`."""
        self._waiting = waiting
        try:
            return self._acquire(waiting, previous)
        except (kazoo.NoNodeError, kazoo.BadVersionError) as error:
            raise LeadershipLost(
                f"another program has changed the nodes of {self._nodes.path}"
            ) from error
        finally:
            self._waiting = None

    def _acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        tick = previous.get("tick") if previous else None
        self._tick = tick / 1000 if isinstance(tick, int) else self._ask_tick()
        self._timeout = timing.session_for(self._engine.session, self._tick)
        self._require_long_lease()
        if previous and previous.get("timeout") != int(self._timeout * 1000):
            previous = None  # a new leader of the ensemble would bring the old timeout back
        until = time.monotonic() + self._engine.session / 2
        connection = self._connect(until, _identity_of(previous))
        self._require_granted(connection)
        claim = self._take_over(connection, previous) if previous else None
        try:
            return claim or self._queue_up(connection, waiting)
        except (kazoo.NoNodeError, kazoo.BadVersionError) as error:
            raise LeadershipLost(
                f"another program has changed the nodes of {self._nodes.path}"
            ) from error

    def _queue_up(self, connection: Connection, waiting: Waiting) -> Claim:
        self._prepare()
        data = self._candidate.encode()
        self._node = self._ask(
            lambda client: client.create_async(
                self._nodes.candidate, data, ephemeral=True, sequence=True
            )
        )
        self._version = 0
        has_waited = self._await_turn(connection, waiting)
        return self._begin(connection, takes_over=has_waited)

    def _ask_tick(self) -> float:
        """The servers' tick: half of the shortest session, which is what a session of 1 ms becomes."""
        connection = Connection(self._engine.location, 0.001, self._patience / 2, tls=self._tls)
        try:
            connection.open(time.monotonic() + self._engine.session / 2, self._waiting)
            return connection.granted().granted / 2
        finally:
            connection.end(self._patience)

    def _require_long_lease(self) -> None:
        if self._timeout < 2 * self._tick:
            least = timing.lease_for(2 * self._tick, self._tick)
            raise EngineUnusable(
                f"{self._engine.address}: the servers' shortest session is {2 * self._tick:g} s (two "
                f"ticks): use a lease of at least {least:.1f} s, "
                f"or lower the servers' tickTime"
            )

    def _require_granted(self, connection: Connection) -> None:
        granted = connection.granted().granted
        if granted < self._timeout - 0.001:  # whole milliseconds
            most = timing.lease_for(granted, self._tick)
            raise EngineUnusable(
                f"{self._engine.address}: the servers' longest session is {granted:g} s "
                f"(maxSessionTimeout, 20 × tickTime by default), and a lease of "
                f"{self._engine.session:g} s needs {self._timeout:.1f} s: raise maxSessionTimeout"
                + (f", or use a lease of at most {int(most * 10) / 10:g} s" if most >= 1 else "")
            )

    def _take_over(self, connection: Connection, previous: Mapping[str, str | int]) -> Claim | None:
        """Write the node of a dead process of this machine; None if the claim does not stand."""
        number, node = connection.identity[0], str(previous.get("node"))
        if number != previous.get("session"):
            return None
        for _ in range(_TRIES):
            try:
                data, stat = self._ask(lambda client: client.get_async(node))
            except kazoo.NoNodeError:
                return None
            found = decode(data)
            if found is None or found.token != previous.get("token") or stat.ephemeralOwner != number:
                return None
            self._node, self._version = node, stat.version
            try:
                return self._begin(connection, takes_over=True)
            except kazoo.BadVersionError:
                continue
        raise EngineUnreachable(f"{self._engine.address}: the node {node} changes all the time")

    def _prepare(self) -> None:
        """Make the election's own node, unless it exists; refuse the node of another program."""
        path = self._nodes.path
        try:
            data, stat = self._ask(lambda client: client.get_async(path))
        except kazoo.NoNodeError:
            try:
                self._ask(lambda client: client.create_async(path, MARK, makepath=True))
            except kazoo.NodeExistsError:  # another candidate was faster
                pass
            return
        children = self._ask(lambda client: client.get_children_async(path))
        self._nodes.require_ours(data, stat.ephemeralOwner, children)

    def _await_turn(self, connection: Connection, waiting: Waiting) -> bool:
        """Wait until no candidate stands before this one; return whether there was one."""
        has_waited = False
        while True:
            try:
                candidates = self._candidates()
                if self._node not in candidates:
                    raise LeadershipLost(f"the node {self._node} was deleted")
                place = candidates.index(self._node)
                if place == 0:
                    return has_waited
                has_waited = True
                self._await_end_of(candidates[place - 1], connection, waiting)
            except EngineUnreachable:
                self._await_server(connection, waiting)

    def _await_end_of(self, node: str, connection: Connection, waiting: Waiting) -> None:
        """Wait until the predecessor's node is gone; one watch wakes one candidate.

        The watch is one for the node's children, of which an ephemeral node has none: it fires when the
        node is deleted. A watch for the node itself would fire at each renewal as well.
        """
        while True:
            connection.quiet()
            try:
                self._ask(lambda client: client.get_children_async(node, watch=connection.ring))
            except kazoo.NoNodeError:
                return
            waiting.readable(connection.bell)
            self._await_server(connection, waiting)

    def _await_server(self, connection: Connection, waiting: Waiting) -> None:
        """Wait until kazoo is connected again, as long as the session may live."""
        until = time.monotonic() + self._timeout
        while True:
            connection.quiet()
            try:
                connection.require_connected()
            except EngineUnreachable:
                if not waiting.readable(connection.bell, until - time.monotonic()):
                    raise
            else:
                return

    def _begin(self, connection: Connection, *, takes_over: bool) -> Claim:
        """Begin a term: one transaction writes this node and the election's, and is the term."""
        data = self._candidate._replace(leads=True).encode()
        wire = connection.granted()

        def request(client: Any) -> Any:
            transaction = client.transaction()
            transaction.set_data(self._node, data, self._version)
            transaction.set_data(self._nodes.path, MARK)
            return transaction.commit_async()

        sent = time.monotonic()
        stat, _ = self._ask(request)
        confirmed = self._confirmed(connection, wire, sent)
        self._version = stat.version
        self._identity = number, password = connection.identity
        proof: dict[str, str | int] = {
            "session": number,
            "password": password.hex(),
            "node": self._node,
            "token": self._candidate.token,
            "timeout": int(self._timeout * 1000),
            "tick": int(self._tick * 1000),
        }
        return Claim(stat.mzxid, confirmed, proof, takes_over)

    def _confirmed(self, connection: Connection, wire: Wire, sent: float) -> float:
        if connection.wire is not wire:
            raise EngineUnreachable(f"{self._engine.address}: the connection has changed meanwhile")
        spare = wire.granted - self._engine.session
        return timing.confirmed(sent, list(wire.sends), wire.opened, spare=spare, tick=self._tick)

    # A claim

    def renew(self) -> float:
        """See `Session.renew`; only a write confirms, since any follower answers a read."""
        until = time.monotonic() + self._patience
        connection = self._connected(until)
        connection.await_server(until)
        wire = connection.granted()
        sent = time.monotonic()
        try:
            stat = self._write_own(until)
        except kazoo.BadVersionError:  # an earlier write, whose answer was lost
            self._version = self._own_version(until)
            sent = time.monotonic()
            stat = self._write_own(until)
        except kazoo.NoNodeError as error:
            raise LeadershipLost(f"the node {self._node} was deleted") from error
        self._version = stat.version
        return self._confirmed(connection, wire, sent)

    def _write_own(self, until: float) -> Any:
        data = self._candidate._replace(leads=True).encode()
        return self._ask(lambda client: client.set_async(self._node, data, self._version), until)

    def _own_version(self, until: float) -> int:
        """The version of this node, if it still has this candidate's token."""
        try:
            data, stat = self._ask(lambda client: client.get_async(self._node), until)
        except kazoo.NoNodeError as error:
            raise LeadershipLost(f"the node {self._node} was deleted") from error
        found = decode(data)
        if found is None or found.token != self._candidate.token:
            raise LeadershipLost(f"another process has written the node {self._node}")
        return int(stat.version)

    def resign(self) -> None:
        """See `Session.resign`."""
        until = time.monotonic() + self._patience
        try:
            try:
                self._delete_own(until)
            except kazoo.BadVersionError:
                self._version = self._own_version(until)
                self._delete_own(until)
        except (kazoo.NoNodeError, LeadershipLost):
            pass
        self._identity = None

    def _delete_own(self, until: float) -> None:
        self._ask(lambda client: client.delete_async(self._node, self._version), until)

    def leave(self) -> None:
        """See `Session.leave`; `close` does so, for a session that has a claim."""


def _identity_of(previous: Mapping[str, str | int] | None) -> tuple[int, bytes] | None:
    if not previous:
        return None
    try:
        return int(previous["session"]), bytes.fromhex(str(previous["password"]))
    except (LookupError, ValueError):
        return None
