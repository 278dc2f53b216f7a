"""The last terms of a lock: leader, length and end of each, and the time without a leader before it.

Read from the lock file (`journal` writes the terms there) and, for the running term, from the kernel's
lock table. The history is for people: terms may be missing after a full disk or file damage.
"""

from __future__ import annotations

import itertools
import os

from leaderlock.errors import LeaderLockError
from leaderlock.lock import journal, record, resigning
from leaderlock.lock.holder import open_for_reading, standing
from leaderlock.lock.leader_lock import LeaderLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOTHING_MORE = {"waited": 0.0, "lease": None, "beat": 0.0, "until": 0.0, "ended": ""}
"""The fields of a term that has a record but no slot in the journal."""

_ENDINGS = {resigning.ON_REQUEST: "resigned on request"}
"""Endings by their text in a slot, which has room for 16 bytes."""

_LATE = 1.0
"""Seconds that a process may take to die after its lease, depending on the machine's load."""


class Term:
    """One term of a lock.

    Attributes:
        term: the number of the term, the fencing token.
        pid: the leader's process ID in its own PID namespace (in a container, the container's number).
        host: the leader's host name.
        since: when the term began, in seconds since the epoch.
        waited: seconds that the leader had waited for the lock.
        lease: seconds within which the leader had to beat; None if there was no lease.
        last_beat: the last noted beat, in seconds since the epoch, or None. Beats are noted once a
            second, or four times in a lease that is shorter than 4 seconds.
        until: when the term ended; None while the term lasts, or if unknown. If the leader was killed
            while the next one waited, the beginning of the next term.
        ended: how the term ended; None while it lasts. ``resigned``: the candidate gave up the lock,
            because the task returned or was asked to stop. ``resigned on request``: the same, after
            ``leaderlock resign``. ``released``: a `LeaderLock` was released. ``exited``: the process
            exited normally. ``failed``: the task raised. ``lost``: the lock's file was deleted or
            replaced. ``lease missed``: the task did not beat, and the kernel killed the process.
            ``killed``: the process ended without a note, for example by SIGKILL or os._exit, or as the
            command of ``leaderlock run --exec``.
        gap: seconds without a leader before the term; None if unknown. 0 if the leader waited while its
            predecessor was killed, since the kernel passes the lock on within milliseconds.
        gap_at_most: an upper bound of the gap, if the gap is unknown; None if no bound is known either.
    """

    def __init__(self, slot: dict[str, Any]) -> None:
        self.term: int = slot["term"]
        self.pid: int = slot["pid"]
        self.host: str = slot["host"]
        self.since: float = slot["since"]
        self.waited: float = slot["waited"]
        self.lease: float | None = slot["lease"]
        self.last_beat: float | None = slot["beat"] or None
        self.until: float | None = slot["until"] or None
        self.ended: str | None = _ENDINGS.get(slot["ended"], slot["ended"]) or None
        self.gap: float | None = None
        self.gap_at_most: float | None = None

    @property
    def last_sign(self) -> float:
        """The last moment when the leader is known to have lived, in seconds since the epoch."""
        return max(self.until or 0, self.last_beat or 0, self.since)

    def as_json(self) -> dict[str, Any]:
        """The attributes by name."""
        return dict(vars(self))

    def _follow(self, before: Term) -> None:
        """Set the end of the term before this one, if that is not noted, and the gap between both."""
        was_there = self.waited > journal.AT_ONCE
        if before.until is not None:
            self.gap = max(self.since - before.until, 0.0)
        elif was_there:
            before.until = self.since
            self.gap = 0.0
        else:
            self.gap_at_most = max(self.since - before.last_sign, 0.0)
        if before.ended is None:
            before.ended = "lease missed" if was_there and before._has_missed(self.since) else "killed"

    def _has_missed(self, end: float) -> bool:
        silence = end - max(self.last_beat or 0, self.since)
        return self.lease is not None and self.lease <= silence <= 1.25 * self.lease + _LATE


class History:
    """The last terms of a lock.

    Attributes:
        path: the lock file.
        terms: the oldest first, at most 500.
        damaged: the number of unreadable entries, damaged by other programs that wrote to the file.
    """

    def __init__(self, path: str, terms: list[Term], damaged: int) -> None:
        self.path = path
        self.terms = terms
        self.damaged = damaged

    def as_json(self) -> dict[str, Any]:
        """The document that ``leaderlock history --json`` prints."""
        return {
            "version": 1,
            "path": self.path,
            "terms": [term.as_json() for term in self.terms],
            "damaged": self.damaged,
        }


def history_of(lock: str | os.PathLike[str] | LeaderLock) -> History:
    """The history of a lock, for any process that may read the file; no candidate is disturbed.

    Raises:
        LeaderLockError: the file does not exist, cannot be read, or is not a regular file.
    """
    lock = lock if isinstance(lock, LeaderLock) else LeaderLock(lock)
    content = _content_of(lock)
    return _history(lock.path, content, _term_that_runs(lock))


def history_beside(path: str, leads: int | None) -> History:
    """The history, for a caller who knows the running term already; reads no lock table."""
    return _history(path, _content_of(LeaderLock(path)), leads)


def _content_of(lock: LeaderLock) -> bytes:
    fd = open_for_reading(lock)
    if fd is None:
        raise LeaderLockError(f"{lock.path} does not exist: nobody has used this lock yet")
    try:
        return os.pread(fd, journal.SIZE, 0)
    finally:
        os.close(fd)


def _history(path: str, content: bytes, leads: int | None) -> History:
    slots = [
        _parse(content[start : start + journal.SLOT_SIZE], number)
        for number, start in enumerate(range(record.SIZE, len(content), journal.SLOT_SIZE))
    ]
    terms = sorted((Term(slot) for slot in slots if slot), key=lambda term: term.term)
    newest = record.decode(content[: record.SIZE])
    if newest is not None and (not terms or terms[-1].term < newest["term"]):
        terms.append(Term({**_NOTHING_MORE, **newest}))
    odd = record.oddity(content[: record.SIZE]) is not None
    for before, term in itertools.pairwise(terms):
        if term.term == before.term + 1:
            term._follow(before)
    for term in terms:
        if term.ended is None and term.term != leads:
            term.ended = "killed"
    return History(path, terms, slots.count(None) + odd)


def current(fd: int) -> Term | None:
    """The term in the record of the descriptor's file, whether the term still lasts or not."""
    fields = record.decode(os.pread(fd, record.SIZE, 0))
    if fields is None:
        return None
    slot = _parse(os.pread(fd, journal.SLOT_SIZE, journal.place_of(fields["term"])), None)
    return Term(slot if slot and slot["term"] == fields["term"] else {**_NOTHING_MORE, **fields})


def _term_that_runs(lock: LeaderLock) -> int | None:
    now = standing(lock)
    return None if now is None or now.holder is None else now.holder.term


def _parse(slot: bytes, number: int | None) -> dict[str, Any] | None:
    """The content of a slot: empty if the slot was never used, None if it is damaged."""
    if not slot.strip(b"\0"):
        return {}
    fields = record.decode(slot[: record.COPY_SIZE])
    tail = journal.read_tail(slot)
    if fields is None or tail is None or number not in (None, fields["term"] % journal.TERMS):
        return None
    more = dict(zip(_NOTHING_MORE, tail, strict=True))
    if more["waited"] == journal.AS_RECORDED:
        del more["waited"], more["lease"]
    return {**_NOTHING_MORE, **fields, **more}
