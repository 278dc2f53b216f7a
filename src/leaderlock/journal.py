"""The history's part of the lock file: a ring of slots behind the record, one a term.

A slot is written before the record of its term, by who holds the lock: so every term that was ever used
has one, whatever instant its holder was killed at, and one whose term was not used is written over by
the next holder. It begins with a copy of the record, and ends with a tail, which is written again when
the leader beats and when it resigns. Nothing is decided by it: where a slot cannot be written (a full
disk), the leader leads all the same.
"""

from __future__ import annotations

from binascii import crc32

from leaderlock import record

TERMS = 500
"""So many terms are kept."""

TAIL_SIZE = 128
SLOT_SIZE = record.COPY_SIZE + TAIL_SIZE
_TEXT_SIZE = TAIL_SIZE - 10

SIZE = record.SIZE + TERMS * SLOT_SIZE
"""Bytes that a lock file may grow to."""


def place_of(term: int) -> int:
    """Where in the file the term's slot begins."""
    return record.SIZE + term % TERMS * SLOT_SIZE


def tail(
    waited: float, lease: float | None, beat: float = 0, until: float = 0, ended: str = ""
) -> bytes:
    """The changing part of a slot.

    Args:
        waited: for how many seconds the leader had waited for the lock.
        lease: seconds, if there is one.
        beat: when it last said that it lives, in seconds since the epoch; 0 if it has not yet.
        until: when it gave the lock up; 0 while it leads.
        ended: how: ``resigned``, for example.
    """
    text = b"%.3f %.6g %.3f %.6f %b" % (waited, lease or 0, beat, until, ended.encode("ascii"))
    body = text.ljust(_TEXT_SIZE)
    return b"%08x %b\n" % (crc32(body), body)


def read_tail(content: bytes) -> tuple[float, float | None, float, float, str] | None:
    """What `tail` was given; None if it is not whole."""
    if len(content) != TAIL_SIZE or content[:9] != b"%08x " % crc32(content[9:-1]):
        return None
    waited, lease, beat, until, *ended = content[9:-1].decode("ascii").split()
    return float(waited), float(lease) or None, float(beat), float(until), " ".join(ended)
