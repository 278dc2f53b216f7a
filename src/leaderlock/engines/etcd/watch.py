"""Watches two keys: a stream of etcd's, which costs etcd no query.

The stream tells of each renewal of a leader, and a candidate counts the leader's lease from there. So
a stream that stays silent for that long ends the wait, whatever the reason is: a member that is stopped
has a kernel that answers the keepalives of TCP. A member that is cut off from the others ends the
stream itself (`HAS_LEADER`). If the link or the machine of the member is away, TCP's keepalives end it.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from leaderlock.engines.etcd.gateway import HAS_LEADER, Reply
from leaderlock.engines.etcd.record import Holding, holding_in
from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from leaderlock.engines.etcd.connection import Connection, Limit
    from leaderlock.engines.etcd.gateway import Gateway
    from leaderlock.engines.etcd.response import Response
    from leaderlock.engines.leased.waiting import Waiting


class Event(NamedTuple):
    """A change of a key.

    Attributes:
        key: the key in base64.
        holding: its new content; None if it was deleted.
    """

    key: str
    holding: Holding | None


class Watch:
    """A stream of the changes of some keys; `close` ends it.

    Args:
        gateway: the members.
        connection: makes a connection to a host, not open yet.
        keys: the keys in base64.
        lease: seconds.
    """

    def __init__(
        self,
        gateway: Gateway,
        connection: Callable[[str], Connection],
        keys: Sequence[str],
        lease: float,
    ) -> None:
        self._gateway = gateway
        self._make = connection
        self._keys = keys
        self._lease = lease
        self._stream: Connection | None = None
        self._answer: Response | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._stream is not None

    def open(self, revision: int, limit: Limit) -> None:
        """Begin to watch, for changes from a revision on.

        Raises:
            EngineUnreachable: no member answers in time.
            EngineUnusable: etcd refuses.
            CalledOff: cancelled.
        """
        wanted = [
            {"create_request": {"key": key, "start_revision": str(revision)}} for key in self._keys
        ]

        def begin(share: Limit) -> Reply:
            self.close()
            self._stream = self._make(self._gateway.member[0])
            sent, self._answer = self._gateway.exchange(
                self._stream, "POST", "/v3/watch", wanted, share, HAS_LEADER
            )
            if self._answer.status != 200 or "json" not in self._answer.content_type:
                while not self._answer.is_complete:
                    self._answer.feed(self._stream.receive(share))
                self._gateway.content_of(self._answer)
            self._stream.keep_alive(self._lease)
            return Reply({}, sent)

        self._gateway.with_members(begin, limit)

    def events(self, waiting: Waiting, until: float) -> list[Event]:
        """The next changes, as they arrive.

        Args:
            waiting: every wait goes through this object.
            until: CLOCK_MONOTONIC at which the wait ends; infinite: never.

        Returns:
            The changes; none of them if the time is over, or if etcd has said something else.

        Raises:
            CalledOff: cancelled, or the limit has passed.
            OSError, ValueError: the stream broke, or has ended.
        """
        stream, answer = self._stream, self._answer
        if stream is None or answer is None:
            raise RuntimeError("the watch is not open")
        lines = answer.take_lines()
        if not lines:
            if answer.is_complete:
                raise OSError("the watch was ended")
            data = stream.receive_ready()
            if data is None:
                left = None if until == math.inf else max(until - time.monotonic(), 0.0)
                if left != 0.0:
                    waiting.readable(stream.fileno(), left)
                data = stream.receive_ready()
            if data is not None:
                answer.feed(data)
            lines = answer.take_lines()
        return [event for line in lines for event in _events(parsed(line))]

    def close(self) -> None:
        """End the stream, in any state."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _events(message: Any) -> list[Event]:
    try:
        if "error" in message:
            raise OSError(str(message["error"].get("message", "the watch has failed")))
        result = message.get("result", {})
        if result.get("canceled"):
            raise OSError(str(result.get("cancel_reason", "the watch was ended")))
        return [
            Event(
                event["kv"]["key"], None if event.get("type") == "DELETE" else holding_in(event["kv"])
            )
            for event in result.get("events", ())
        ]
    except (AttributeError, LookupError, OverflowError, TypeError) as error:
        raise ValueError(f"no event of etcd: {message!r:.80}") from error
