"""Notes of an election in an engine: its history, and an operator's request to resign."""

from __future__ import annotations

import json
import os
import time

from leaderlock.kernel.foreign_json import parsed
from leaderlock.lock.resigning import SeenRequest
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Claim, Session

    # `holds` is there if the task has returned: a request cannot stop the code that it started.
    Entry = dict[str, str | int | float | None]

HISTORY, REQUEST = "history", "request"

TERMS = 100
"""Number of terms that the history keeps."""


class History:
    """A leader's entry in the history of its election; only a leader writes there.

    Attributes:
        ends: the reason for the coming end of the term, if it is known before the resignation.
    """

    def __init__(self, engine: LeasedEngine, session: Session, claim: Claim) -> None:
        self.ends = ""
        self._session = session
        self._entry: Entry = {**engine.who(), "term": claim.term, "until": None, "ended": ""}

    def record_start(self) -> None:
        """Write the entry of the term; raises the errors of the session."""
        self._write()

    def record_holding(self) -> None:
        """Write, once, that a request cannot end the term; raises the errors of the session."""
        if "holds" not in self._entry:
            try:
                self._entry["holds"] = True
                self._write()
            except BaseException:
                del self._entry["holds"]  # the next renewal writes it
                raise

    def record_end(self, how: str) -> None:
        """Write the term's end; raises the errors of the session."""
        self._entry.update(until=time.time(), ended=self.ends or how)
        self._write()

    def _write(self) -> None:
        terms = [e for e in read_history(self._session) if e.get("term") != self._entry["term"]]
        content = json.dumps([*terms[1 - TERMS :], self._entry])
        self._session.write(HISTORY, content.encode())


def read_history(session: Session) -> list[Entry]:
    """The entries of the latest terms, the oldest first; damaged ones are left out."""
    try:
        entries = parsed(session.read(HISTORY) or b"[]")
    except ValueError:
        return []
    if not isinstance(entries, list):
        return []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("term"), int)]


class Request(SeenRequest):
    """See `leaderlock.engines.engine.Request`: a note that names the term to end."""

    def __init__(self, engine: LeasedEngine) -> None:
        super().__init__()
        self._engine = engine

    @property
    def holds(self) -> bool:
        """Whether the task has returned, and the leadership is held."""
        return self._holds

    def accept(self) -> None:
        """Nothing to announce: a request is a note, which waits for the leader."""

    def refuse(self) -> None:
        """The task has returned: a request cannot stop the code that it started."""
        self._holds = True

    def heed(self, session: Session, term: int) -> bool:
        """Look for a request for this term; return whether one has just been seen.

        The engine is asked in any case: see `leaderlock.engines.leased.renewal`.
        """
        if session.read(REQUEST) != b"%d" % term or self.asked or self._holds:
            return False
        self.asked = True
        log().info("process %d is asked to resign from %s", os.getpid(), self._engine.address)
        return True


def holds(session: Session, term: int) -> bool:
    """Whether the leader of a term has written that a request cannot end the term."""
    return any(e["term"] == term and e.get("holds") is True for e in read_history(session))


def ask(session: Session, term: int) -> None:
    """Ask the leader of a term to resign."""
    session.write(REQUEST, b"%d" % term)
