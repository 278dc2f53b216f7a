"""`PostgresSession`: a connection to PostgreSQL that stands, renews and resigns for one candidate."""

from __future__ import annotations

import json
import os
import time

from leaderlock.engines.leased.session import Claim, Standing
from leaderlock.engines.postgresql import statements
from leaderlock.engines.postgresql.candidacy import Candidacy
from leaderlock.engines.postgresql.connecting import connect, milliseconds
from leaderlock.engines.postgresql.failures import MISSING, NOT_PERMITTED, ServerRefuses
from leaderlock.engines.postgresql.link import ready
from leaderlock.engines.postgresql.names import Names, lock_key
from leaderlock.errors import EngineUnusable, LeadershipLost
from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.waiting import Waiting
    from leaderlock.engines.postgresql.link import Link, Ready
    from leaderlock.engines.postgresql.servers import Servers

_IDLE = 0.6
"""The part of a lease without a statement after which the server ends a leader's session. The next
candidate, or the one after it if the next one is cut off too, is then awake when the lease ends."""


class PostgresSession:
    """See `Session`. Connects when it is first used, and again after an error.

    Args:
        servers: the ways to connect.
        engine: the elections of the name.
    """

    def __init__(self, servers: Servers, engine: LeasedEngine) -> None:
        self._servers = servers
        self._engine = engine
        self._lease = engine.session
        self._names = Names(engine.name)
        self._token = os.urandom(16).hex()
        self._term = 0
        self._link: Link | None = None
        self._has_seat = False
        self._pid = os.getpid()

    def acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """See `Session.acquire`."""
        link = self._connected(waits=waiting.answers)
        try:
            self._enter(link)
            claim = None if previous is None else self._take_over(link, waiting, previous)
            if claim is None:
                candidacy = Candidacy(link, waiting, self._names, self._lease, self._engine.address)
                term = candidacy.stand(self._token, self._who(), self._idle_of_a_leader())
                self._has_seat = True
                claim = self._claim(term, candidacy.sent, takes_over=candidacy.takes_over)
        finally:
            link.waits = ready
        self._term = claim.term
        return claim

    def _enter(self, link: Link) -> None:
        """Have a row of the election, and the tables."""
        try:
            link.query(statements.ENTER, self._names.row)
        except ServerRefuses as refusal:
            if refusal.sqlstate not in MISSING:
                raise self._explained(link, refusal) from refusal
            self._create(link)
            link.query(statements.ENTER, self._names.row)

    def _create(self, link: Link) -> None:
        try:
            link.query(statements.CREATE_ALONE.format(key=lock_key("create", "")))
        except ServerRefuses as refusal:
            raise self._explained(link, refusal) from refusal

    def _explained(self, link: Link, refusal: ServerRefuses) -> EngineUnusable:
        if refusal.sqlstate != NOT_PERMITTED:
            return refusal
        grant = statements.GRANT.format(role=link.user.replace('"', '""'))
        return EngineUnusable(
            f"{refusal}; an administrator runs once, in this database:\n{statements.CREATE}\n{grant}"
        )

    def _take_over(
        self, link: Link, waiting: Waiting, previous: Mapping[str, str | int]
    ) -> Claim | None:
        """Lead in place of a process that is dead, if its claim still stands."""
        term, token = previous.get("term"), previous.get("token")
        if not isinstance(term, int) or not isinstance(token, str):
            return None
        link.waits = ready  # a cancelled answer would leave a claim
        sent = time.monotonic()
        rows = link.query(
            statements.TAKE_OVER,
            *(self._names.row, self._token, self._lease, self._who()),
            *(term, token, self._idle_of_a_leader()),
        )
        link.waits = waiting.answers
        return self._claim(rows[0][0], sent, takes_over=True) if rows else None

    def _who(self) -> str:
        return json.dumps(self._engine.who())

    def _idle_of_a_leader(self) -> int:
        """Milliseconds without a statement after which the server ends a leader's session."""
        return milliseconds(self._lease * _IDLE)

    def _claim(self, term: str | None, sent: float, *, takes_over: bool) -> Claim:
        number = int(term or 0)
        return Claim(number, sent, {"term": number, "token": self._token}, takes_over)

    def renew(self) -> float:
        """See `Session.renew`."""
        self._require_own_process()
        until = time.monotonic() + self._lease / 3
        link = self._connected(until)
        sent = time.monotonic()
        rows = link.query(
            statements.RENEW,
            *(self._names.row, self._term, self._token, self._has_seat, self._names.seat),
            until=until,
        )
        if not rows:
            raise LeadershipLost(
                f"term {self._term} is over: another candidate was elected, or the row was changed"
            )
        self._has_seat = rows[0][0] == "t"
        return sent

    def resign(self) -> None:
        """See `Session.resign`."""
        self._require_own_process()
        if not self._term:
            return
        until = time.monotonic() + self._lease / 3
        self._connected(until).query(
            statements.RESIGN,
            self._names.row,
            self._term,
            self._token,
            self._names.channel,
            until=until,
        )
        self._term = 0
        self.close()  # frees the lock, after the row has said that the term has ended

    def leave(self) -> None:
        """See `Session.leave`: the row stands as it is."""

    def close(self) -> None:
        """See `Session.close`."""
        link, self._link = self._link, None
        self._has_seat = False
        if link is not None:
            link.close()

    def read(self, note: str) -> bytes | None:
        """See `Session.read`."""
        try:
            rows = self._connected().query(statements.READ, self._names.row, note)
        except ServerRefuses as refusal:
            if refusal.sqlstate in MISSING:
                return None
            raise
        return bytes.fromhex(rows[0][0] or "") if rows else None

    def write(self, note: str, content: bytes) -> None:
        """See `Session.write`."""
        link = self._connected()
        try:
            link.query(statements.WRITE, self._names.row, note, content.hex())
        except ServerRefuses as refusal:
            if refusal.sqlstate not in MISSING:
                raise self._explained(link, refusal) from refusal
            self._create(link)
            link.query(statements.WRITE, self._names.row, note, content.hex())

    def look(self) -> Standing:
        """See `Session.look`."""
        try:
            rows = self._connected().query(statements.LOOK, self._names.row, self._names.queue)
        except ServerRefuses as refusal:
            if refusal.sqlstate not in MISSING:
                raise
            rows = []
        if not rows:
            return Standing(0, None, None, 0)
        [[term, ended, is_same_server, lease, age, who, waiting]] = rows
        ends = float(lease or 0)
        if is_same_server == "t":
            ends = min(max(ends - float(age or 0), 0.0), ends)
        leads = ended != "t" and ends > 0
        leader = _description(who or "{}") if leads else None
        return Standing(int(term or 0), leader, ends if leads else None, int(waiting or 0))

    def _connected(self, until: float | None = None, waits: Ready = ready) -> Link:
        """The connection; a new one after an error."""
        if self._pid != os.getpid():
            raise EngineUnusable(
                f"{self._engine.address}: a connection belongs to the process that made it "
                f"({self._pid}), and not to its forked child {os.getpid()}: stand anew in the child"
            )
        if self._link is None or not self._link.is_alive():
            self.close()
            self._link = connect(
                self._servers,
                self._lease,
                until,
                waits,
                idle=self._lease * (_IDLE if self._term else 3),
            )
        return self._link

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise LeadershipLost(
                f"process {os.getpid()} is a forked child: term {self._term} belongs to its parent"
            )


def _description(text: str) -> dict[str, str | int | float]:
    """A leader's description of itself; empty if another program has written it."""
    try:
        who = parsed(text)
    except ValueError:
        return {}
    return who if isinstance(who, dict) else {}
