"""The value of an election's key: who leads, and a token that no other claim has."""

from __future__ import annotations

import binascii
import json
import math
import os
from typing import NamedTuple

from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Who = dict[str, str | int | float]

_MARK, _TOKEN = "leaderlock", "token"
_FORMAT = 1


def to_base64(text: str | bytes) -> str:
    """Keys and values as the gateway takes them."""
    data = text.encode() if isinstance(text, str) else text
    return binascii.b2a_base64(data, newline=False).decode()


def from_base64(text: str) -> bytes:
    """A key or a value of an answer."""
    return binascii.a2b_base64(text)


def new_value(who: Who) -> str:
    """The value of a new claim."""
    return json.dumps({_MARK: _FORMAT, _TOKEN: os.urandom(16).hex(), **who})


class Holding(NamedTuple):
    """A key of etcd as an answer shows it.

    Attributes:
        value: the content.
        lease: the number of the lease, with which the key ends; "0" without a lease.
        revision: the revision of the last change.
    """

    value: bytes
    lease: str
    revision: int

    def leader(self) -> Who | None:
        """The leader's description of itself; None if another program has written the value."""
        try:
            content = parsed(self.value)
        except ValueError:
            return None
        if not isinstance(content, dict) or content.get(_MARK) != _FORMAT:
            return None
        known = {k: v for k, v in content.items() if isinstance(v, (str, int, float))}
        return {k: v for k, v in known.items() if k not in (_MARK, _TOKEN)}

    def leaders_lease(self) -> float:
        """Seconds after a renewal at which the leader is dead if it has not renewed; or infinite."""
        lease = (self.leader() or {}).get("lease")
        return float(lease) if isinstance(lease, int | float) and lease > 0 else math.inf


def holding_in(found: Mapping[str, Any]) -> Holding:
    """A key and its content, of an answer or an event."""
    return Holding(
        from_base64(found.get("value", "")),
        str(found.get("lease", "0")),
        int(found["mod_revision"]),
    )


def holding_of(range_answer: Mapping[str, Any]) -> Holding | None:
    """The only key of an answer to a range request; None if there is none."""
    for found in range_answer.get("kvs", ()):
        return holding_in(found)
    return None
