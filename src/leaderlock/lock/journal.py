"""The history's part of the lock file: a ring of slots behind the record, one for a term.

A slot is a copy of the term's record, and a tail that says what the record does not. It is written once
an elected leader's task has begun, when it beats, and at the end of every term. Where that did not
happen, as the holder was killed, the next one writes it from the record, before it writes its own: so
every term that was ever used is kept, whatever instant its holder was killed at. Nothing is decided by
it: where a slot cannot be written (a full disk), the leader leads all the same.
"""

from __future__ import annotations

import os
from binascii import crc32, hexlify
from struct import Struct

from leaderlock.lock import record

TERMS = 500
"""So many terms are kept."""

AT_ONCE = 0.01
"""Seconds that a free lock may take to be had; who waits longer takes over from somebody else."""

AS_RECORDED = -1.0
"""In a slot, in place of the seconds waited: these, and the lease, are as the record says."""

_TAIL = Struct("<dddd16s")
_CHECKSUM_SIZE = 4
_TAIL_END = record.COPY_SIZE + 2 * (_TAIL.size + _CHECKSUM_SIZE)
SLOT_SIZE = 512
"""So that none lies across two pages: SIGKILL can break off a write(2) between them."""

SIZE = record.SIZE + TERMS * SLOT_SIZE
"""Bytes that a lock file may grow to."""


def place_of(term: int) -> int:
    """Where in the file the term's slot begins."""
    return record.SIZE + term % TERMS * SLOT_SIZE


def slot(
    content: bytes,
    waited: float = AS_RECORDED,
    lease: float | None = None,
    beat: float = 0,
    until: float = 0,
    ended: str = "",
) -> bytes:
    """The content of a slot.

    Args:
        content: the record.
        waited: for how many seconds the leader had waited for the lock.
        lease: seconds, if there is one.
        beat: when it last said that it lives, in seconds since the epoch; 0 if it has not yet.
        until: when it gave the lock up; 0 while it leads.
        ended: how: ``resigned``, for example.
    """
    tail = _TAIL.pack(waited, lease or 0, beat, until, ended.encode())
    # In hexadecimal digits: the file stays a text.
    whole = hexlify(tail + crc32(tail).to_bytes(_CHECKSUM_SIZE, "little"))
    return content[: record.COPY_SIZE] + whole + b"\n"


def read_tail(content: bytes) -> tuple[float, float | None, float, float, str] | None:
    """What `slot` was given behind the copy; None if it is not whole, or nothing that `slot` writes."""
    try:
        whole = bytes.fromhex(content[record.COPY_SIZE : _TAIL_END].decode("ascii"))
    except ValueError:
        return None
    tail, checksum = whole[: _TAIL.size], whole[_TAIL.size :]
    if len(tail) != _TAIL.size or checksum != crc32(tail).to_bytes(_CHECKSUM_SIZE, "little"):
        return None
    waited, lease, beat, until, ended = _TAIL.unpack(tail)
    # NaN, say, or a terminal's commands: anybody can make the checksum fit.
    text = ended.rstrip(b"\0").decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        return None
    times = (lease, beat, until) if waited == AS_RECORDED else (waited, lease, beat, until)
    if not all(map(record.is_moment, times)):
        return None
    return waited, lease or None, beat, until, text


def archive(fd: int, content: bytes, term: int) -> None:
    """Write the slot of a term whose holder did not, from the record that it has left.

    Raises:
        OSError: the slot cannot be written.
    """
    copy = record.whole_copy(content, term)
    if copy is not None and os.pread(fd, record.COPY_SIZE, place_of(term)) != copy:
        os.pwrite(fd, slot(copy), place_of(term))
