"""The requests about one election's key: each is one step, and says what etcd has answered."""

from __future__ import annotations

import contextlib
import math
from typing import NamedTuple

from leaderlock.engines.etcd.record import holding_of, to_base64
from leaderlock.errors import EngineUnusable, LeaderLockError
from leaderlock.log import log
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from leaderlock.engines.etcd.connection import Limit
    from leaderlock.engines.etcd.gateway import Gateway
    from leaderlock.engines.etcd.record import Holding

NOTES = "/.leaderlock/"
"""Between the election's key and the name of a note."""

_TERM = "term"
"""The note that each claim changes, so that its revision is the latest term."""

_HEIR = "heir"
"""The note with the ticket of the candidate that tries first; see `leaderlock.engines.leased.turns`."""

_SLOWER = 1.01

FREE: Mapping[str, str] = {"target": "CREATE", "create_revision": "0"}
"""The condition that there is no such key."""


def has_value(value: str) -> Mapping[str, str]:
    """The condition that the key has a value."""
    return {"target": "VALUE", "value": to_base64(value)}


def has_revision(revision: int) -> Mapping[str, str]:
    """The condition that nobody has changed the key since a revision; 0: that there is no key."""
    return {"target": "MOD", "mod_revision": str(revision)}


def has_lease(lease: str) -> Mapping[str, str]:
    """The condition that the key has a lease."""
    return {"target": "LEASE", "lease": lease}


class Grant(NamedTuple):
    """A new lease.

    Attributes:
        lease: its number.
        sent: CLOCK_MONOTONIC before the request was sent; the lease begins later.
        seconds: the lease's time, as etcd has set it.
    """

    lease: str
    sent: float
    seconds: int

    def confirmed(self, lease: float) -> float:
        """The moment from which a leader may count its lease, so that the lease ends before etcd's.

        The leader's clock may be slower than etcd's by one percent. Where rounding up has not made
        etcd's lease longer by that, the leader counts from a little before the request.
        """
        return self.sent - max(lease * _SLOWER - self.seconds, 0.0)


class Outcome(NamedTuple):
    """The end of a transaction.

    Attributes:
        succeeded: whether its conditions were met.
        revision: of all keys, after the transaction.
        holder: the key as a failed transaction has found it; None if there is no key.
    """

    succeeded: bool
    revision: int
    holder: Holding | None


class Scene(NamedTuple):
    """An election at one moment.

    Attributes:
        holder: the key; None without a leader.
        term: the latest term; 0 before the first one.
        heir: the note of the heir.
        revision: of all keys.
    """

    holder: Holding | None
    term: int
    heir: Holding | None
    revision: int


class ElectionKey:
    """One key; the methods raise the errors of `Gateway.ask`.

    Args:
        gateway: the members.
        path: the key.
        shown: the URL, for messages.

    Attributes:
        name: the key in base64.
        heir: the key of the heir's note, in base64.
    """

    def __init__(self, gateway: Gateway, path: str, shown: str) -> None:
        self.name = to_base64(path)
        self.heir = to_base64(path + NOTES + _HEIR)
        self._gateway = gateway
        self._path = path
        self._shown = shown

    def grant(self, lease: float, limit: Limit) -> Grant:
        """A new lease of at least so many seconds."""
        wanted = math.ceil(lease)
        reply = self._gateway.ask("lease/grant", {"TTL": str(wanted)}, limit)
        with self._understood():
            seconds, number = int(reply.content.get("TTL", 0)), str(reply.content["ID"])
        if seconds < wanted:
            raise EngineUnusable(f"{self._shown}: etcd grants {seconds} s for a lease of {wanted} s")
        return Grant(number, reply.sent, seconds)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """Raise an error of ours for an answer in JSON that etcd does not give."""
        try:
            yield
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise EngineUnusable(
                f"{self._shown}: this is no answer of etcd: "
                + printable(f"{type(error).__name__}: {error}"[:200])
            ) from error

    def revoke(self, lease: str, limit: Limit) -> None:
        """End a lease, and a key that has it. Raises nothing: the lease ends in its time anyway."""
        try:
            self._gateway.ask("lease/revoke", {"ID": lease}, limit)
        except LeaderLockError as error:
            log().debug("%s", error)

    def claim(self, value: str, lease: str, limit: Limit, condition: Mapping[str, str]) -> Outcome:
        """Put the key for a new leader, and change the note of the term."""
        term = {"key": self._note(_TERM), "value": to_base64(value)}
        return self._put(value, lease, limit, [condition], {"request_put": term})

    def put(self, value: str, lease: str, limit: Limit, *conditions: Mapping[str, str]) -> Outcome:
        """Put the key with a lease, if all the conditions are met."""
        return self._put(value, lease, limit, conditions)

    def _put(
        self,
        value: str,
        lease: str,
        limit: Limit,
        conditions: Iterable[Mapping[str, str]],
        *more: Mapping[str, object],
    ) -> Outcome:
        put = {"key": self.name, "value": to_base64(value), "lease": lease}
        return self._transaction(conditions, [{"request_put": put}, *more], limit)

    def delete(self, limit: Limit, condition: Mapping[str, str]) -> Outcome:
        """Delete the key, if the condition is met."""
        return self._transaction([condition], [{"request_delete_range": {"key": self.name}}], limit)

    def _transaction(
        self,
        conditions: Iterable[Mapping[str, str]],
        steps: list[Mapping[str, object]],
        limit: Limit,
    ) -> Outcome:
        content = self._gateway.ask(
            "kv/txn",
            {
                "compare": [{"key": self.name, **condition} for condition in conditions],
                "success": steps,
                "failure": [{"request_range": {"key": self.name}}],
            },
            limit,
        ).content
        with self._understood():
            succeeded = bool(content.get("succeeded"))
            holder = None if succeeded else holding_of(content["responses"][0]["response_range"])
            return Outcome(succeeded, int(content["header"]["revision"]), holder)

    def scene(self, limit: Limit) -> Scene:
        """The key and the notes of the candidates, at one moment."""
        keys = (self.name, self._note(_TERM), self.heir)
        wanted = [{"request_range": {"key": key}} for key in keys]
        content = self._gateway.ask("kv/txn", {"success": wanted}, limit).content
        with self._understood():
            found = [holding_of(answer["response_range"]) for answer in content["responses"]]
            holder, latest, heir = found
            term = 0 if latest is None else latest.revision
            return Scene(holder, term, heir, int(content["header"]["revision"]))

    def offer(self, ticket: str, limit: Limit, seen: int) -> None:
        """Leave a ticket as the heir's, if nobody has since a revision."""
        put = {"key": self.heir, "value": to_base64(ticket)}
        compare = [{"key": self.heir, **has_revision(seen)}]
        self._gateway.ask("kv/txn", {"compare": compare, "success": [{"request_put": put}]}, limit)

    def withdraw(self, ticket: str, limit: Limit) -> None:
        """Take the heir's ticket back. Raises nothing: a ticket without a candidate costs little."""
        compare = [{"key": self.heir, **has_value(ticket)}]
        delete = {"request_delete_range": {"key": self.heir}}
        try:
            self._gateway.ask("kv/txn", {"compare": compare, "success": [delete]}, limit)
        except LeaderLockError as error:
            log().debug("%s", error)

    def seconds_left(self, lease: str, limit: Limit) -> float:
        """Seconds until a lease ends, rounded down."""
        content = self._gateway.ask("lease/timetolive", {"ID": lease}, limit).content
        with self._understood():
            return max(float(content.get("TTL", 0)), 0.0)  # -1: it has ended

    def require_ours(self, holder: Holding) -> None:
        """Refuse a key that would never be freed for this election.

        Raises:
            EngineUnusable: another program has written the key, or the key has no lease.
        """
        if holder.leader() is None:
            raise EngineUnusable(
                f"{self._shown}: another program has written the key {self._path}: choose another "
                f"path, or delete the key if nobody needs it"
            )
        if holder.lease == "0":
            raise EngineUnusable(
                f"{self._shown}: the key {self._path} has no lease, so it was copied or restored, and "
                f"never ends: delete it once its leader does not run any more"
            )

    def _note(self, name: str) -> str:
        return to_base64(self._path + NOTES + name)

    def read_note(self, name: str, limit: Limit) -> bytes | None:
        """The content of a note."""
        content = self._gateway.ask("kv/range", {"key": self._note(name)}, limit).content
        with self._understood():
            found = holding_of(content)
        return None if found is None else found.value

    def write_note(self, name: str, content: bytes, limit: Limit) -> None:
        """Write a note, which has no lease."""
        self._gateway.ask("kv/put", {"key": self._note(name), "value": to_base64(content)}, limit)
