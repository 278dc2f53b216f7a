"""Requests to etcd's JSON gateway: the members in turn, credentials, and clear errors.

Each request has a connection of its own, which costs 0.5 ms: a connection that is kept may be dead, and
a request on it would then have failed or not, nobody knows.
"""

from __future__ import annotations

import json
import os
import time
from typing import NamedTuple

from leaderlock.engines.etcd.connection import Connection, Distrusted, Limit
from leaderlock.engines.etcd.names import places_of
from leaderlock.engines.etcd.response import Response
from leaderlock.errors import EngineUnreachable, EngineUnusable
from leaderlock.kernel.foreign_json import parsed
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from leaderlock.engines.address import Address
    from leaderlock.engines.etcd.names import Places

PORT = 2379

HAS_LEADER = {"Grpc-Metadata-hasleader": "true"}
"""A member that is cut off from the others ends such a stream (clientv3's WithRequireLeader)."""

# Status codes of gRPC.
_INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _NOT_FOUND, _DENIED, _EXHAUSTED = 3, 4, 5, 7, 8
_FAILED_PRECONDITION, _INTERNAL, _UNAVAILABLE, _UNAUTHENTICATED = 9, 13, 14, 16
_ANOTHER_MEMBER_MAY_ANSWER = (_DEADLINE_EXCEEDED, _EXHAUSTED, _INTERNAL, _UNAVAILABLE)


class Reply(NamedTuple):
    """An answer of etcd.

    Attributes:
        content: the JSON object.
        sent: CLOCK_MONOTONIC before the request was sent to the member that has answered.
    """

    content: dict[str, Any]
    sent: float


class NoLease(EngineUnusable):
    """The lease of the request has ended."""


class _Answer(Exception):
    """An error that etcd has answered with.

    Attributes:
        code: gRPC's status code.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Gateway:
    """The members of one cluster, for one session.

    Args:
        address: the URL.
        connection: makes a connection to a host of the given name, not open yet.
    """

    def __init__(self, address: Address, connection: Callable[[str], Connection]) -> None:
        self._address = address
        self._connection = connection
        self._members = [(host, port or PORT) for host, port in address.hosts]
        # At random: candidates then watch different members, and a frozen one delays few of them.
        self._next = int.from_bytes(os.urandom(2), "big") % len(self._members)
        self._places: dict[str, Places] = {}
        self._token = ""

    @property
    def member(self) -> tuple[str, int]:
        """The host and port of the member to ask next."""
        return self._members[self._next]

    @property
    def size(self) -> int:
        """Number of members in the URL."""
        return len(self._members)

    def turn_to_next(self) -> None:
        """Ask another member from now on."""
        self._next = (self._next + 1) % len(self._members)

    def ask(self, path: str, body: Mapping[str, object], limit: Limit) -> Reply:
        """Ask the members in turn, until one answers; each has an equal share of the time that is left.

        Args:
            path: the path of the request, behind ``/v3/``.
            body: its JSON object.
            limit: the time for all members together.

        Raises:
            EngineUnreachable: no member answers in time.
            NoLease: the request's lease has ended.
            EngineUnusable: etcd refuses.
            CalledOff: cancelled.
        """
        return self.with_members(lambda share: self._ask_member(path, body, share), limit)

    def with_members(self, function: Callable[[Limit], Reply], limit: Limit) -> Reply:
        """Call a function for one member after the other, until it raises no error of the network."""
        problems = []
        refused = False
        for left in range(self.size, 0, -1):
            now = time.monotonic()
            share = Limit(limit.waiting, now + (limit.until - now) / left)
            try:
                return self._authenticated(function, share)
            except _Answer as error:
                if error.code not in _ANOTHER_MEMBER_MAY_ANSWER:
                    raise self._refusal(error) from None
                problem, refused = str(error), True
            except Distrusted as error:
                raise self._unusable(
                    f"the certificate cannot be verified ({error}): name the authority's file by the "
                    f"parameter ca, and the host as the certificate does"
                ) from error
            except OSError as error:
                problem = str(error) or type(error).__name__
            problems.append(f"{self._at(self.member)}: {problem}")
            self._places.pop(self.member[0], None)
            self.turn_to_next()
        what = "; ".join(problems)
        if refused:
            raise EngineUnreachable(self._message(f"etcd cannot serve the request ({what})"))
        hint = "" if self._address.scheme == "etcds" else " (by etcds:// if they use TLS)"
        raise EngineUnreachable(
            self._message(
                f"no member of etcd answers ({what}): check that etcd runs, and that the URL names its "
                f"ports for clients{hint}"
            )
        )

    @staticmethod
    def _at(member: tuple[str, int]) -> str:
        host, port = member
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _message(self, text: str) -> str:
        return f"{self._address.shown}: {printable(self._address.hide(text))}"

    def _unusable(self, text: str) -> EngineUnusable:
        return EngineUnusable(self._message(text))

    def _refusal(self, error: _Answer) -> EngineUnusable:
        if error.code == _NOT_FOUND:
            return NoLease(self._message(str(error)))
        if error.code == _DENIED:
            return self._unusable(
                f"{error}: grant the user's role the right to read and write all keys that begin with "
                f"{self._address.path}"
            )
        if "user name is empty" in str(error):
            return self._unusable(f"{error}: name a user and its password in the URL")
        return self._unusable(str(error))

    def _authenticated(self, function: Callable[[Limit], Reply], limit: Limit) -> Reply:
        """Call the function with a valid token; etcd forgets one after minutes, or as it restarts."""
        if not self._address.user:
            return function(limit)
        if self._token:
            try:
                return function(limit)
            except _Answer as error:
                if error.code != _UNAUTHENTICATED and "revision in header is old" not in str(error):
                    raise
        self._log_in(limit)
        return function(limit)

    def _log_in(self, limit: Limit) -> None:
        self._token = ""
        credentials = {"name": self._address.user, "password": self._address.password}
        try:
            reply = self._ask_member("auth/authenticate", credentials, limit)
        except _Answer as error:
            if (
                error.code == _FAILED_PRECONDITION
            ):  # "authentication is not enabled": anybody may do all
                return
            if error.code == _INVALID_ARGUMENT:
                raise self._unusable(f"{error}: check the user and the password of the URL") from None
            raise
        self._token = str(reply.content.get("token", ""))

    def _ask_member(self, path: str, body: Mapping[str, object], limit: Limit) -> Reply:
        connection = self._connection(self.member[0])
        try:
            sent, response = self.exchange(connection, "POST", f"/v3/{path}", body, limit)
            while not response.is_complete:
                response.feed(connection.receive(limit))
        finally:
            connection.close()
        return Reply(self.content_of(response), sent)

    def exchange(
        self,
        connection: Connection,
        method: str,
        path: str,
        body: Mapping[str, object] | Sequence[Mapping[str, object]],
        limit: Limit,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[float, Response]:
        """Send a request to the next member, and wait for the head of the answer.

        Args:
            connection: not open yet.
            method, path: of the request.
            body: its JSON object, or several for a stream.
            limit: the time that this may take.
            headers: more of them.

        Returns:
            CLOCK_MONOTONIC before the request was sent, and the answer as far as it has arrived.
        """
        self._connect(connection, limit)
        messages = [body] if isinstance(body, dict) else body
        content = "".join(map(json.dumps, messages)).encode()
        fields = {
            "Host": self._at(self.member),
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            **(headers or {}),
        }
        if self._token.isprintable() and self._token:
            fields["Authorization"] = self._token
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        sent = time.monotonic()
        connection.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content, limit)
        response = Response()
        while not response.status:
            response.feed(connection.receive(limit))
        return sent, response

    def _connect(self, connection: Connection, limit: Limit) -> None:
        host, port = self.member
        places = self._places.get(host)
        if places is None:
            places = self._places[host] = places_of(host, port, limit)
        for left in range(len(places), 0, -1):
            now = time.monotonic()
            share = Limit(limit.waiting, now + (limit.until - now) / left)
            try:
                connection.open(*places[-left], share)
            except Distrusted:
                raise
            except OSError:
                connection.close()
                if left == 1:
                    raise
            else:
                return

    def content_of(self, response: Response) -> dict[str, Any]:
        """The JSON object of a complete answer."""
        kind, body = response.content_type, response.body
        text = body[:80].decode(errors="replace").strip()
        if "json" not in kind:
            if response.status >= 500:  # a proxy in front of etcd
                raise OSError(f"HTTP status {response.status}")
            raise self._unusable(
                f"{self._at(self.member)} answers HTTP status {response.status} with {text!r}, and "
                f"no JSON: this is no gateway of etcd 3.4 or newer. Is a proxy there, or must the "
                f"scheme be etcds?"
            )
        try:
            content = parsed(body)
        except ValueError:
            raise OSError(f"half an answer: {text!r}") from None
        if not isinstance(content, dict):
            raise OSError(f"an answer that is no object: {text!r}")
        code = content.get("code")
        if response.status != 200 and isinstance(code, int):
            raise _Answer(code, str(content.get("message", text)))
        if response.status != 200 or not isinstance(content.get("header"), dict):
            raise self._unusable(
                f"{self._at(self.member)} answers HTTP status {response.status} with {text!r}: this is "
                f"not etcd"
            )
        return content
