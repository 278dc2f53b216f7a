"""`Candidacy`: one candidate's wait in PostgreSQL, from the end of the queue to the election.

The row of the election decides who leads. Two advisory locks only wake candidates, so that nobody must
ask the server again and again: all candidates but one wait for the `queue` lock. The one that has it is
the next leader and waits for the `seat` lock, which the leader has. The server frees the locks of a
session that ends. The next leader then inspects the row. If the last term was not resigned, it waits
until the lease has ended, and leads if the row is unchanged.

A leader may be without the seat: after a restart of the server, or if it took over from another process
of its machine. Then the next leader finds the row renewed. It gives the seat back and waits for half a
lease, in which the leader takes the seat at its next renewal; or until the end of the lease, if that is
sooner, since the leader may have died meanwhile.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from leaderlock.engines.postgresql import statements
from leaderlock.engines.postgresql.connecting import SLICE, milliseconds
from leaderlock.engines.postgresql.link import ready
from leaderlock.engines.postgresql.server_clock import ServerClock
from leaderlock.errors import EngineUnreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.leased.waiting import Waiting
    from leaderlock.engines.postgresql.link import Link, Row
    from leaderlock.engines.postgresql.names import Names

_MARGIN = 1.025
"""The leader's clock may be one percent slow by the server's, and the candidate's one percent fast."""

_PROMPT = 0.2
"""The part of a lease within which a candidate must go on after the server has given it a lock."""

_PATIENT = 3.0
"""Leases for which a candidate may be silent after it has given the seat back."""

_SILENT = 0.05
"""The part of a lease for which a candidate with the seat may be silent after the end of a term: it may
be cut off together with the leader, and the others wait behind it."""


class _Row(NamedTuple):
    """The row of an election.

    Attributes:
        changes: how often it was changed.
        ended: whether the last term was resigned.
        lease: the leader's, in seconds.
        left: seconds until the last term has ended for certain, unless the leader renews.
    """

    changes: str | None
    ended: bool
    lease: float
    left: float


class Candidacy:
    """Stands in an election whose row exists.

    Args:
        link: the connection.
        waiting: see `Session.acquire`.
        names: the election.
        lease: the candidate's own lease, in seconds.
        address: the URL for messages.

    Attributes:
        sent: CLOCK_MONOTONIC when the request that made the candidate lead was sent.
        takes_over: whether another candidate led until then.
    """

    def __init__(self, link: Link, waiting: Waiting, names: Names, lease: float, address: str) -> None:
        self.sent = 0.0
        self.takes_over = False
        self._link = link
        self._waiting = waiting
        self._names = names
        self._lease = lease
        self._address = address
        self._clock = ServerClock()

    def stand(self, token: str, who: str, idle: int) -> str:
        """Wait until elected; return the term.

        Args:
            token: the leader's secret.
            who: the leader's description.
            idle: milliseconds without a statement after which the server ends a leader's session.

        Raises:
            CalledOff, EngineUnreachable, EngineUnusable: see `Session.acquire`.
        """
        self._note_time()
        self._lock(self._names.queue)
        self._link.query(f"LISTEN {self._names.channel}")
        while True:
            self._lock(self._names.seat)
            changes = self._wait_for_end()
            rows = self._lead(changes, token, who, idle)
            if rows:
                return rows[0][0] or ""
            self._link.query(statements.UNLOCK, self._names.seat)
            row = self._inspect()
            pause = min(row.lease / 2, row.left)  # the leader renews every quarter
            self._may_be_silent(pause + self._lease * _PATIENT)
            self._is_notified(pause)

    def _lead(self, changes: str | None, token: str, who: str, idle: int) -> list[Row]:
        """Lead unless the row has changed."""
        waits, self._link.waits = self._link.waits, ready  # a cancelled answer would leave a claim
        try:
            self.sent = time.monotonic()
            return self._link.query(
                statements.LEAD,
                *(self._names.row, token, self._lease, who, changes, idle, self._names.queue),
            )
        finally:
            self._link.waits = waits

    def _lock(self, key: int) -> None:
        """Have an advisory lock."""
        if self._link.query(statements.TRY_LOCK, key) == [("t",)]:
            return
        self.takes_over = True
        while True:
            idle = milliseconds(self._lease * _PROMPT)
            self._link.send(statements.LOCK.format(key=key, idle=idle))
            until = time.monotonic() + SLICE + self._lease
            while not self._link.has_answer():
                if not self._waiting.readable(self._link.fd, until - time.monotonic()):
                    raise EngineUnreachable(
                        f"{self._address}: the server did not end a wait of {SLICE:g} s"
                    )
            if self._link.answer() == [("yes",)]:
                return
            self._note_time()

    def _wait_for_end(self) -> str | None:
        """Wait until the last term has ended; return the row's number of changes."""
        while True:
            row = self._inspect()
            if row.ended:
                return row.changes
            self.takes_over = True
            if row.left > 0:
                self._may_be_silent(row.left + self._lease * _SILENT)
            if row.left <= 0 or not self._is_notified(row.left):
                return row.changes

    def _inspect(self) -> _Row:
        """The election's row, and the time until its term ends."""
        idle = str(milliseconds(self._lease * _PATIENT))
        rows = self._link.query(statements.INSPECT, self._names.row, idle)
        if not rows:
            raise EngineUnreachable(f"{self._address}: the election's row was deleted")
        [(changes, ended, is_same_server, lease, age, now, _)] = rows
        seconds = float(lease or 0)
        left = longest = seconds * _MARGIN
        if is_same_server == "t":
            gained = self._clock.gained(float(now or 0), longest)
            left = min(longest - float(age or 0) + gained, longest)
        return _Row(changes, ended == "t", seconds, 0.0 if ended == "t" else max(left, 0.0))

    def _is_notified(self, seconds: float) -> bool:
        """Wait for a leader's resignation, for some seconds."""
        until = time.monotonic() + seconds
        while not self._link.is_notified():
            if not self._waiting.readable(self._link.fd, max(until - time.monotonic(), 0)):
                return False
        return True

    def _may_be_silent(self, seconds: float) -> None:
        """Let the server end this session after some seconds without a statement."""
        idle = str(milliseconds(seconds))
        self._link.query("SELECT set_config('idle_session_timeout', $1, false)", idle)

    def _note_time(self) -> None:
        [(now,)] = self._link.query(statements.NOW)
        self._clock.note(float(now or 0))
