"""What the commands show and do for elections in engines, which their URLs name."""

from __future__ import annotations

import select
import sys
import textwrap
import time

from leaderlock.engines.catalogue import leased_engine_of
from leaderlock.engines.leased.notes import ask, holds
from leaderlock.engines.leased.renewal import RENEWALS
from leaderlock.errors import LeaderLockError
from leaderlock.lock.record import moment_or_none
from leaderlock.status.fleet import status_of_election
from leaderlock.wording import duration, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Session, Standing
    from leaderlock.status.survey import Survey

_PAUSE = 0.5
"""Seconds between two questions to an engine, while ``resign --wait`` waits."""


def add_elections(survey: Survey, urls: Sequence[str]) -> None:
    """Add the elections that answer, and a line for each one that does not."""
    for url in urls:
        try:
            survey.elections.append(status_of_election(url))
        except (LeaderLockError, ValueError) as error:
            survey.errors.append(str(error))


def resign(url: str, wait: bool) -> int:
    """Ask the leader of an election to resign; return the exit status.

    Raises:
        LeaderLockError: the engine does not answer, or refuses; or the leader cannot be asked.
    """
    engine = leased_engine_of(url, without="does not tell who leads")
    session = engine.connect()
    try:
        standing = session.look()
        if standing.leader is None:
            print(printable(f"leaderlock: nobody leads {engine.address}"), file=sys.stderr)
            return 1
        _require_heeding(engine, session, standing)
        ask(session, standing.term)
        who = _named(standing.leader)
        print(printable(f"asked {who} to resign from {engine.address}, term {standing.term}"))
        lease = moment_or_none(standing.leader.get("lease"))
        if lease is not None:
            print(f"the leader looks for a request every {duration(lease / RENEWALS)}")
        if wait:
            sys.stdout.flush()
            print(_after(engine, session, standing))
        return 0
    finally:
        session.close()


def _require_heeding(engine: LeasedEngine, session: Session, standing: Standing) -> None:
    """See `_Asking._require_heeding` in cli/resign.py; the leader writes it after a renewal."""
    if standing.leader is not None and holds(session, standing.term):
        raise LeaderLockError(
            f"{engine.address}: the task of {_named(standing.leader)} has returned, and what it "
            f"started cannot be stopped from outside: stop the process, or let the task stay until "
            f"leadership.stopping is set"
        )


def _after(engine: LeasedEngine, session: Session, asked: Standing) -> str:
    """Wait until a term has ended: an engine tells that to candidates only, so this asks again."""
    term = asked.term
    while True:
        standing = session.look()
        if standing.leader is None:
            return f"term {term} has ended; nobody leads now"
        if standing.term != term:
            return printable(f"term {term} has ended; {_named(standing.leader)} leads now")
        _require_heeding(engine, session, standing)  # the task may have returned before it was asked
        select.select([], [], [], _PAUSE)  # an engine has no event for clients that do not stand


def _named(leader: Mapping[str, object]) -> str:
    return f"process {leader.get('pid')} on {leader.get('host')}"


def diagnosis(url: str) -> tuple[dict[str, Any], int]:
    """What ``leaderlock doctor URL`` tells: the engine's traits, and whether it answers now.

    Returns:
        The JSON document, and the exit status: 0 good, 2 broken.
    """
    engine = leased_engine_of(url, without="does not tell who leads")
    found: dict[str, Any] = {
        "version": 1,
        "address": engine.address,
        "lease": engine.session,
        "traits": engine.traits._asdict(),
    }
    began = time.monotonic()
    session = engine.connect()
    try:
        standing = session.look()
    except LeaderLockError as error:
        return {**found, "verdict": "broken", "problem": str(error)}, 2
    finally:
        session.close()
    answered = {"seconds": time.monotonic() - began, "term": standing.term}
    return {**found, "verdict": "good", "answer": answered}, 0


_HEADINGS = {
    "frees": "What ends a term",
    "speed": "How soon the next one leads",
    "clock": "Whose clocks are trusted",
    "limits": "What it cannot promise",
}


def diagnosis_as_text(found: dict[str, Any], width: int) -> list[str]:
    """The lines of ``leaderlock doctor URL``, for a terminal of some columns."""
    good = found["verdict"] == "good"
    lines = [f"{found['verdict'].upper()}: {found['address']}"]
    if good:
        lines.append(f"  the engine answered in {duration(found['answer']['seconds'])}")
    else:
        lines.append(f"  {found['problem']}")
    lines += [f"  {_HEADINGS[key]}: {text}." for key, text in found["traits"].items()]
    return [
        textwrap.fill(
            printable(line),
            width,
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    ]
