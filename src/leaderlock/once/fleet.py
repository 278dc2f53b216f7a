"""`call_once` among many machines: the engine elects the runner, and keeps the outcomes as notes."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time

from leaderlock.engines.catalogue import leased_engine_of
from leaderlock.engines.leased.holding import holding
from leaderlock.errors import CorruptLockFile
from leaderlock.kernel.foreign_json import parsed
from leaderlock.once.outcomes import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Session
    from leaderlock.once.key import OnceKey

    P = ParamSpec("P")
    R = TypeVar("R")

_LARGEST = 100_000
"""Bytes of a result in JSON: engines are made for small values."""


def once_in_fleet(
    function: Callable[P, R], once_key: OnceKey, url: str, lease: float | None
) -> Callable[P, R]:
    """The function, to be run to completion once for a key among all users of the URL."""
    engine = leased_engine_of(url, lease, without="keeps no notes, so call_once cannot use it")

    @functools.wraps(function)
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        key = once_key.of(args, kwargs)
        note = f"outcome-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        notes = engine.connect()  # apart from the tenure's session, which another thread uses
        try:
            outcome = _read(notes, note, engine)
            if outcome is None:
                with holding(engine) as tenure:
                    outcome = _read(notes, note, engine)
                    if outcome is None:  # no process ran it while this one waited
                        outcome = _outcome(key, function(*args, **kwargs), tenure.term)
                        tenure.check()
                        notes.write(note, json.dumps(outcome).encode())
        finally:
            notes.close()
        result: R = outcome["result"]
        return result

    return once


def _outcome(key: str, result: object, term: int) -> dict[str, Any]:
    text = encode(result, "the result of a function under call_once")
    if len(text) > _LARGEST:
        raise TypeError(
            f"the result of a function under call_once has {len(text)} bytes in JSON; an engine keeps "
            f"{_LARGEST} at most: return the place of the result instead"
        )
    return {
        "key": json.loads(key),
        "result": json.loads(text),
        "term": term,
        "pid": os.getpid(),
        "at": time.time(),
    }


def _read(notes: Session, note: str, engine: LeasedEngine) -> dict[str, Any] | None:
    content = notes.read(note)
    if content is None:
        return None
    try:
        outcome = parsed(content)
    except ValueError:
        outcome = None
    if not isinstance(outcome, dict) or "result" not in outcome:
        raise CorruptLockFile(
            f"{engine.address}: the note {note} is no outcome of call_once: remove it (the function "
            f"then runs again)"
        )
    return outcome
