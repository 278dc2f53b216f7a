"""The nodes of an election: their names, and the data of a candidate.

::

    /app/health                          permanent; each election writes it, so its mzxid is the term
    /app/health/candidate-0000000007     ephemeral; the first one leads
    /app/health/note-history             permanent
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from leaderlock.errors import EngineUnusable
from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from leaderlock.engines.address import Address

MARK = b"leaderlock"
"""The data of an election's own node."""

_CANDIDATE = re.compile(r"candidate-\d{10}")
_NOTE = re.compile(r"note-[a-z0-9-]+")


class Candidate(NamedTuple):
    """The data of a candidate's node.

    Attributes:
        token: of one candidate, at one time of standing.
        who: the candidate's description.
        leads: whether the candidate has been elected.
    """

    token: str
    who: Mapping[str, str | int | float]
    leads: bool = False

    def encode(self) -> bytes:
        """The data of the node."""
        return json.dumps(self._asdict()).encode()


def decode(data: bytes) -> Candidate | None:
    """The candidate of a node's data; None if another program wrote the data."""
    try:
        found = parsed(data)
        return Candidate(str(found["token"]), dict(found["who"]), bool(found["leads"]))
    except (ValueError, TypeError, LookupError):
        return None


class Nodes:
    """The paths of one election.

    Raises:
        ValueError: the URL has no path that ZooKeeper takes, or a part that has no meaning here.

    Attributes:
        path: the election's own node.
        candidate: the path of a candidate's node, without the sequence number.
    """

    def __init__(self, address: Address) -> None:
        self._shown = address.shown
        self.path = address.path.rstrip("/")
        if not self.path:
            raise ValueError(
                f"{self._shown}: the URL needs a path, such as {self._shown.rstrip('/')}/app/health"
            )
        parts = self.path.split("/")[1:]
        if any(part in ("", ".", "..") for part in parts) or not self.path.isprintable():
            raise ValueError(f"{self._shown}: ZooKeeper takes no empty part, '.' or '..' in a path")
        if parts[0] == "zookeeper":
            raise ValueError(f"{self._shown}: ZooKeeper keeps /zookeeper for itself: use another path")
        address.require_known_parameters("zookeepers")
        if address.name:
            raise ValueError(
                f"{self._shown}: the path names an election in ZooKeeper; '#' has no meaning"
            )
        if bool(address.user) != bool(address.password) or ":" in address.user:
            raise ValueError(f"{self._shown}: ZooKeeper's digest needs a user and a password")
        self.candidate = f"{self.path}/candidate-"

    def note(self, name: str) -> str:
        """The path of a note."""
        return f"{self.path}/note-{name}"

    def candidates(self, children: Iterable[str]) -> list[str]:
        """The paths of the candidates' nodes, the first one first."""
        return [f"{self.path}/{child}" for child in sorted(filter(_CANDIDATE.fullmatch, children))]

    def require_ours(self, data: bytes, owner: int, children: Iterable[str]) -> None:
        """Refuse a path that another program uses.

        Args:
            data: the data of the election's node.
            owner: the session of an ephemeral node; 0 for a permanent node.
            children: the names of its children.

        Raises:
            EngineUnusable: the node, or a child, is not of an election.
        """
        strange = [c for c in children if not (_CANDIDATE.fullmatch(c) or _NOTE.fullmatch(c))]
        if data not in (b"", MARK) or owner:
            found = "it is an ephemeral node" if owner else f"its data is {data[:40]!r}"
        elif strange:
            found = f"it has the child {min(strange)!r}"
        else:
            return
        raise EngineUnusable(
            f"{self._shown}: another program uses the node {self.path} ({found}): give the election a "
            f"path of its own"
        )
