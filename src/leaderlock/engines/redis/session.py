"""A candidate's session with one Redis server; `scripts` has the rules of the election."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import Any

from leaderlock.engines.leased.session import Claim, Standing
from leaderlock.engines.leased.waiting import CalledOff
from leaderlock.engines.redis.candidacy import Attempt, Candidacy
from leaderlock.engines.redis.link import Link
from leaderlock.engines.redis.scripts import ATTEMPT, LOOK, OFFER, RENEW, RESIGN, WITHDRAW
from leaderlock.errors import EngineUnreachable, EngineUnusable, LeadershipLost
from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.waiting import Waiting

_EVENTS, _NEEDED = "notify-keyspace-events", "Kxe"
"""Classes of keyspace events: on the key's own channel, expired keys, and evicted ones."""


class ServerClock:
    """The server's clock as the candidates of an engine know it, also over new connections.

    A leader's lease ends by the server's clock, which somebody may set. So a candidate compares that
    clock with CLOCK_MONOTONIC. After a jump, and at its first look, it does not trust that a lease has
    ended.

    Attributes:
        ahead: seconds from CLOCK_MONOTONIC to the server's time; None before the first answer.
    """

    def __init__(self) -> None:
        self.ahead: float | None = None

    def expected(self, now: float) -> int | str:
        """The server's time in milliseconds at a moment of CLOCK_MONOTONIC; empty if unknown."""
        return "" if self.ahead is None else round((now + self.ahead) * 1000)


class RedisSession:
    """See `Session`.

    Args:
        engine: the engine, for its address, its lease and this process's description.
        database: the database's number.
        clock: the server's clock.
    """

    def __init__(self, engine: LeasedEngine, database: int, clock: ServerClock) -> None:
        self._engine = engine
        self._database = database
        self._prefix = f"leaderlock:{{{engine.name}}}"
        self._alarm = f"{self._prefix}:alarm"
        self._channel = f"{self._prefix}@{database}"  # channels are common to all databases
        self._link: Link | None = None
        self._token = secrets.token_hex(16)
        self._who = "{}"
        self._tells_expiry = False
        self._term = 0
        self._clock = clock

    def acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """See `Session.acquire`.

        A free election costs one script. Otherwise the candidate subscribes first and tries once more,
        so that no event can fall between the try and the wait.
        """
        previous = previous or {}
        dead = str(previous.get("token", ""))
        self._term = max(self._term, _whole(previous.get("term")))
        self._let_server_tell_expiry()
        sent, attempt = self._attempt(dead)
        has_waited = False
        if not attempt.is_elected:
            self._open().subscribe(self._channel, f"__keyspace@{self._database}__:{self._alarm}")
            candidacy = Candidacy(self._engine.session)
            sent, attempt = self._attempt(dead)
            while not attempt.is_elected:
                candidacy.tried(attempt)
                self._wait(waiting, candidacy)
                has_waited = True
                sent, attempt = self._attempt(dead)
        self._open().unsubscribe()
        proof: dict[str, str | int] = {"token": self._token, "term": attempt.term}
        return Claim(attempt.term, sent, proof, takes_over=has_waited or bool(attempt.flag))

    def _attempt(self, dead: str) -> tuple[float, Attempt]:
        """Try to be elected; return CLOCK_MONOTONIC of the sending, and the script's answer."""
        self._who = json.dumps(self._engine.who())
        self._open()
        sent = time.monotonic()
        answer = Attempt(*self._run(ATTEMPT, dead, self._term, self._clock.expected(sent)))
        self._term = max(self._term, answer.term)
        self._clock.ahead = answer.time / 1000 - sent
        return sent, answer

    def _wait(self, waiting: Waiting, candidacy: Candidacy) -> None:
        """Wait until a new try may succeed, or may tell more."""
        link = self._open()
        try:
            while True:
                while (message := link.message()) is not None:
                    candidacy.hear(message)
                now, offer, due = time.monotonic(), candidacy.offer_due(), candidacy.due()
                if due <= now:
                    return
                if offer <= now:
                    candidacy.offered()
                    self._run(OFFER, candidacy.ticket)
                    return  # the link drops what it hears before an answer, so look again
                waiting.readable(link.fd, min(due, offer) - now)
        except CalledOff:
            if candidacy.is_heir:
                with contextlib.suppress(EngineUnusable):  # an heir that does not come costs little
                    self._run(WITHDRAW, candidacy.ticket)
            raise

    def renew(self) -> float:
        """See `Session.renew`."""
        is_new = self._link is None
        self._open()
        sent = time.monotonic()
        if not self._run(RENEW, self._term):
            raise LeadershipLost(f"term {self._term} is over in the server: another process may lead")
        if is_new:  # a server that has started anew may have lost the setting
            try:
                self._let_server_tell_expiry()
            except EngineUnreachable:  # the next renewal tries again, over a new connection
                pass
        return sent

    def resign(self) -> None:
        """See `Session.resign`."""
        self._run(RESIGN)

    def leave(self) -> None:
        """See `Session.leave`: the server counts the lease by itself."""

    def close(self) -> None:
        """See `Session.close`."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def read(self, note: str) -> bytes | None:
        """See `Session.read`."""
        content = self._call("GET", f"{self._prefix}:{note}")
        return content if isinstance(content, bytes) else None

    def write(self, note: str, content: bytes) -> None:
        """See `Session.write`."""
        self._call("SET", f"{self._prefix}:{note}", content)

    def look(self) -> Standing:
        """See `Session.look`."""
        term, leads, left, who, waiting = self._run(LOOK)
        if not leads:
            return Standing(term, None, None, waiting)
        try:
            leader = parsed(who)
        except ValueError:
            leader = None
        return Standing(term, leader if isinstance(leader, dict) else {}, left / 1000, waiting)

    def _let_server_tell_expiry(self) -> None:
        """Let the server tell of keys that expire, if this user may set that; keep what is set."""
        try:
            answer = self._call("CONFIG", "GET", _EVENTS)
            value = answer.get(_EVENTS.encode()) if isinstance(answer, dict) else None
            if value is not None:
                classes = value.decode()
                missing = "".join(c for c in _NEEDED if c not in classes.replace("A", "xe"))
                if missing:
                    self._call("CONFIG", "SET", _EVENTS, classes + missing)
            self._tells_expiry = value is not None
        except EngineUnreachable:
            raise
        except EngineUnusable:  # NOPERM; a hosted server without CONFIG
            self._tells_expiry = False

    def _run(self, script: str, *more: str | int) -> Any:
        """Run a script with the arguments that all scripts have, and more."""
        lease = round(self._engine.session * 1000)
        tells = int(self._tells_expiry)
        common = (self._channel, self._database, self._token, lease, self._who, tells)
        return self._call("EVAL", script, 2, self._prefix, self._alarm, *common, *more)

    def _call(self, *command: str | int | bytes) -> Any:
        try:
            return self._open().call(*command)
        except EngineUnreachable:
            self.close()  # the next call connects anew: an answer may still be on its way
            raise

    def _open(self) -> Link:
        if self._link is None:
            self._link = Link(self._engine.location, self._database, self._engine.session / 3)
        return self._link


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
