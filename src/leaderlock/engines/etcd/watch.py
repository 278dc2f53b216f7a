"""Waits until a key is deleted: a stream of etcd's, which costs etcd nothing while nothing happens.

A stream is silent while the key stands. It could be silent in three other cases:

- The link or the machine of the member is away. TCP's keepalives end the connection.
- The member is cut off from the other members. It ends the stream itself (`HAS_LEADER`).
- The member's process is stopped, and its kernel answers the keepalives. A stream of HTTP/1.1 cannot
  show that. So after some leases without an event the member is asked for its version, which it knows
  without the other members and without reading a key.
"""

from __future__ import annotations

import json

from leaderlock.engines.etcd.connection import Limit
from leaderlock.engines.etcd.gateway import HAS_LEADER, Reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from leaderlock.engines.etcd.connection import Connection
    from leaderlock.engines.etcd.gateway import Gateway
    from leaderlock.engines.etcd.response import Response
    from leaderlock.engines.leased.waiting import Waiting

LEASES = 4
"""Leases without an event after which the member is asked for its version."""


class Watch:
    """A stream of the deletions of one key; `close` ends it.

    Args:
        gateway: the members.
        connection: makes a connection to a host, not open yet.
        key: the key in base64.
        lease: seconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        connection: Callable[[str], Connection],
        key: str,
        lease: float,
    ) -> None:
        self._gateway = gateway
        self._make = connection
        self._key = key
        self._lease = lease
        self._stream: Connection | None = None
        self._answer: Response | None = None

    def open(self, revision: int, limit: Limit) -> None:
        """Begin to watch, for deletions from a revision on.

        Raises:
            EngineUnreachable: no member answers in time.
            EngineUnusable: etcd refuses.
            CalledOff: cancelled.
        """
        wanted = {"key": self._key, "start_revision": str(revision), "filters": ["NOPUT"]}

        def begin(share: Limit) -> Reply:
            self.close()
            self._stream = self._make(self._gateway.member[0])
            sent, self._answer = self._gateway.exchange(
                self._stream, "POST", "/v3/watch", {"create_request": wanted}, share, HAS_LEADER
            )
            if self._answer.status != 200 or "json" not in self._answer.content_type:
                while not self._answer.is_complete:
                    self._answer.feed(self._stream.receive(share))
                self._gateway.content_of(self._answer)
            self._stream.keep_alive(self._lease)
            return Reply({}, sent)

        self._gateway.with_members(begin, limit)

    def wait(self, waiting: Waiting, request_limit: Callable[[], Limit]) -> bool:
        """Wait until the key is deleted, or the stream has ended: the caller then looks anew.

        Args:
            waiting: every wait goes through this object.
            request_limit: the time that a request may take from now on.

        Returns:
            Whether the key was deleted.

        Raises:
            CalledOff: cancelled, or the limit has passed.
            OSError, ValueError: the stream broke.
        """
        stream, answer = self._stream, self._answer
        if stream is None or answer is None:
            raise RuntimeError("the watch is not open")
        while True:
            for line in answer.take_lines():
                event = json.loads(line)
                if "error" in event:
                    raise OSError(str(event["error"].get("message", "the watch has failed")))
                result: dict[str, Any] = event.get("result", {})
                if result.get("events"):
                    return True
                if result.get("canceled"):
                    raise OSError(str(result.get("cancel_reason", "the watch was ended")))
            if answer.is_complete:
                raise OSError("the watch was ended")
            data = stream.receive_ready()
            if data is not None:
                answer.feed(data)
            elif not waiting.readable(stream.fileno(), LEASES * self._lease):
                self._require_version(request_limit())

    def _require_version(self, limit: Limit) -> None:
        connection = self._make(self._gateway.member[0])
        try:
            self._gateway.exchange(connection, "GET", "/version", None, limit)
        finally:
            connection.close()

    def close(self) -> None:
        """End the stream, in any state."""
        if self._stream is not None:
            self._stream.close()
