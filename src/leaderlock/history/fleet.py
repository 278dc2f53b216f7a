"""The last terms of an election in an engine, from the note that its leaders write.

Each leader writes by the clock of its own machine, so a gap between two terms is only as exact as the
clocks of the two machines agree.
"""

from __future__ import annotations

import itertools

from leaderlock.engines.catalogue import leased_engine_of
from leaderlock.engines.leased.notes import read_history
from leaderlock.history.reading import History, Term
from leaderlock.lock.record import moment_or_none
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.notes import Entry
    from leaderlock.engines.leased.session import Session, Standing


def history_in_engine(url: str) -> History:
    """The history of an election in an engine.

    Raises:
        ValueError: the URL is incomplete.
        EngineUnusable: the engine refuses, or does not answer.
        Unsupported: there is no engine for the URL, or its client is not installed.
    """
    engine = leased_engine_of(url, without="keeps no history")
    session = engine.connect()
    try:
        return history_from(engine, session, session.look())
    finally:
        session.close()


def history_from(engine: LeasedEngine, session: Session, standing: Standing) -> History:
    """The history, by a session that has just looked who leads; raises the errors of the session."""
    entries = read_history(session)
    found = [_term(entry) for entry in entries]
    terms = sorted((term for term in found if term is not None), key=lambda term: term.term)
    for before, term in itertools.pairwise(terms):
        if before.until is not None:
            term.gap = max(term.since - before.until, 0.0)
        else:
            term.gap_at_most = max(term.since - before.last_sign, 0.0)
    for term in terms:
        is_over = standing.term > term.term or (standing.term == term.term and standing.leader is None)
        if term.ended is None and is_over:  # a later term has begun since the look
            term.ended = "killed"
    return History(engine.address, terms, found.count(None))


def _term(entry: Entry) -> Term | None:
    """The term of an entry; None if another program has written the entry."""
    pid, host, since = entry.get("pid"), entry.get("host"), moment_or_none(entry.get("since"))
    ended, lease = entry.get("ended"), moment_or_none(entry.get("lease"))
    if not (isinstance(pid, int) and isinstance(host, str) and isinstance(ended, str) and since):
        return None
    return Term(
        {
            "term": entry["term"],
            "pid": pid,
            "host": printable(host),
            "since": since,
            "waited": 0.0,
            "lease": lease,
            "beat": 0.0,
            "until": moment_or_none(entry.get("until")) or 0.0,
            "ended": printable(ended),
        }
    )
