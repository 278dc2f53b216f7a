"""One connection to a Redis server, for commands and messages alike, and clear errors.

RESP3 (Redis 6 and newer) sends commands' answers and messages over the same connection, so a candidate
holds one. A message that comes before the answer of a command is older than the answer, and is dropped.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import time
from contextlib import contextmanager

import redis
from redis.exceptions import (
    AuthorizationError,
    ClusterError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
)

from leaderlock.engines.redis.connections import connection_of
from leaderlock.errors import EngineUnreachable, EngineUnusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from leaderlock.engines.address import Address


PORT = 6379

_MESSAGES = {b"message", b"subscribe", b"unsubscribe"}
"""The first word of what a server sends unasked; no answer of a command that we send begins so."""

_PASSES = re.compile(r"READONLY|OOM|MISCONF|NOREPLICAS|MASTERDOWN|LOADING|\bBUSY\b|TRYAGAIN")
"""A server's refusals that pass by themselves, also inside the text of a script's error (Redis 6)."""

_FORBIDS = re.compile(r"NOPERM|ACL failure|can't (run this command|access at least|publish to)")
"""A server's refusals for want of a right; those of a script have no code of their own."""

RIGHTS = (
    "+hmget +hset +exists +get +set +del +pexpire +pttl +publish +subscribe +unsubscribe "
    "+pubsub|numsub +eval +time +info +select"
)
"""The commands that a user of elections needs, for ACL SETUSER."""


class Link:
    """A connection, open from its making on; it belongs to the process that made it.

    Args:
        address: the server's URL.
        database: the database's number.
        seconds: the longest wait for an answer; each step of connecting may take half of it.

    Raises:
        EngineUnreachable, EngineUnusable: see `clear_errors`.
    """

    def __init__(self, address: Address, database: int, seconds: float) -> None:
        self._address = address
        self._seconds = seconds
        self._pid = os.getpid()
        self._is_subscribed = False
        host, port = address.hosts[0]
        probe = max(1, int(seconds))
        settings: dict[str, Any] = {
            "host": host,
            "port": port or PORT,
            "db": database,
            "username": address.user or None,
            "password": address.password or None,
            "protocol": 3,
            "socket_timeout": seconds / 2,
            "socket_connect_timeout": seconds / 2,
            "socket_keepalive_options": {
                socket.TCP_KEEPIDLE: probe,
                socket.TCP_KEEPINTVL: probe,
                socket.TCP_KEEPCNT: 2,
            },
            "driver_info": None,
        }
        self._connection = connection_of(address, settings)
        with clear_errors(address):
            self._connection.connect()

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self._connection.fileno()

    def call(self, *command: str | int | bytes) -> object:
        """Send a command, and return its answer."""
        self._require_open()
        until = time.monotonic() + self._seconds
        with clear_errors(self._address):
            self._connection.send_command(*command)
            while _is_message(answer := self._read(until - time.monotonic())):
                pass
        return answer

    def subscribe(self, *channels: str) -> None:
        """Subscribe to channels; on return, the server sends their messages."""
        self._require_open()
        until = time.monotonic() + self._seconds
        self._is_subscribed = True
        with clear_errors(self._address):
            self._connection.send_command("SUBSCRIBE", *channels)
            confirmed = 0
            while confirmed < len(channels):
                answer = self._read(until - time.monotonic())
                confirmed += isinstance(answer, list) and answer[0] == b"subscribe"

    def unsubscribe(self) -> None:
        """End all subscriptions. The server's confirmation is read with the next answer."""
        if not self._is_subscribed:
            return
        self._require_open()
        self._is_subscribed = False
        with clear_errors(self._address):
            self._connection.send_command("UNSUBSCRIBE")

    def message(self) -> bytes | None:
        """The content of the next message that has come; None if there is none."""
        self._require_open()
        with clear_errors(self._address):
            while self._connection.can_read(0):
                answer = self._read(self._seconds)
                if isinstance(answer, list) and answer[0] == b"message":
                    return bytes(answer[2])
        return None

    def _read(self, seconds: float) -> object:
        answer: object = self._connection.read_response(push_request=True, timeout=max(seconds, 0.001))
        return answer

    def _require_open(self) -> None:
        if self._pid != os.getpid():
            raise EngineUnusable(
                f"{self._address.shown}: process {self._pid} made this connection, and its forked "
                f"child {os.getpid()} cannot use it: begin the election in the child"
            )
        if not self._connection.is_connected:  # the client would connect anew, without subscriptions
            raise EngineUnreachable(f"{self._address.shown}: the connection is closed")

    def close(self) -> None:
        """Close the connection. In a forked child, the parent's stays open."""
        self._connection.disconnect()


def _is_message(answer: object) -> bool:
    return isinstance(answer, list) and bool(answer) and answer[0] in _MESSAGES


@contextmanager
def clear_errors(address: Address) -> Iterator[None]:
    """Raise the client's errors as ours: the event, the URL without its password, the remedy.

    Raises:
        EngineUnreachable: the server does not answer, or it refuses for the moment.
        EngineUnusable: the server refuses.
    """
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise _clear(error, address) from error


def _clear(error: Exception, address: Address) -> EngineUnusable:
    text = address.hide(str(error))[:300]
    if isinstance(error.__context__, ssl.SSLError | FileNotFoundError | PermissionError):
        return _failure_of_tls(error.__context__, text, address)
    if isinstance(error, redis.AuthenticationError | AuthorizationError):
        return EngineUnusable(
            f"{address.shown}: the server does not accept the user and the password of the URL ({text})"
        )
    if isinstance(error, ReadOnlyError | MasterDownError):
        return EngineUnreachable(
            f"{address.shown}: the server is a replica at the moment, and only the primary can elect: "
            f"let the URL name the primary ({text})"
        )
    if isinstance(error, redis.BusyLoadingError | OutOfMemoryError | TryAgainError) or (
        isinstance(error, redis.ResponseError) and _PASSES.search(str(error))
    ):
        return EngineUnreachable(f"{address.shown}: the server refuses at the moment ({text})")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | OSError):
        return EngineUnreachable(f"{address.shown}: the server does not answer ({text})")
    if isinstance(error, InvalidResponse):
        return EngineUnusable(f"{address.shown}: this is no Redis server ({text})")
    if isinstance(error, MovedError | ClusterError):
        return EngineUnusable(
            f"{address.shown}: the server is part of a cluster; name a single server ({text})"
        )
    return _refusal(text, address, lacks_right=isinstance(error, NoPermissionError))


def _failure_of_tls(cause: OSError, text: str, address: Address) -> EngineUnusable:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return EngineUnusable(
            f"{address.shown}: the server's certificate is not trusted ({text}): name its authority's "
            f"file in the URL (?ssl_ca_certs=…)"
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # the server ends
        return EngineUnreachable(f"{address.shown}: the server does not answer ({text})")
    if isinstance(cause, ssl.SSLError):
        return EngineUnusable(
            f"{address.shown}: no TLS connection is possible ({text}): a file that the URL names may "
            f"be the wrong one"
        )
    return EngineUnusable(f"{address.shown}: a file that the URL names cannot be read ({text})")


def _refusal(text: str, address: Address, *, lacks_right: bool) -> EngineUnusable:
    prefix = f"leaderlock:{{{address.name}}}"
    if lacks_right or _FORBIDS.search(text):
        return EngineUnusable(
            f"{address.shown}: the user lacks a right ({text}); an election needs no more than: ACL "
            f"SETUSER {address.user or 'default'} ~{prefix}* &{prefix}* &__keyspace@*__:{prefix}:alarm "
            f"{RIGHTS}"
        )
    if "WRONGTYPE" in text or text.startswith("FOREIGN"):
        return EngineUnusable(
            f"{address.shown}: another program owns a key that begins with {prefix} ({text}): choose "
            f"another name for the election, or another database"
        )
    if "unknown command" in text and "HELLO" in text:
        return EngineUnusable(f"{address.shown}: the server is too old: it must be Redis 6 or newer")
    return EngineUnusable(f"{address.shown}: the server refuses ({text})")
