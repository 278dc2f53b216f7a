"""The history's part of the lock file: a ring of slots behind the record, one for a term.

A slot is a copy of the term's record, and a tail with further facts. An elected leader writes the slot
after its task has begun, when the task beats, and at the end of every term. If a holder was killed
before it wrote the slot, the next holder writes that slot from the record, before it writes its own
record: so every term that was ever used is kept, at whatever instant its holder was killed. No decision
depends on the history: a leader leads even if it cannot write the slot (a full disk).
"""

from __future__ import annotations

import os
from binascii import crc32, hexlify
from struct import Struct

from leaderlock.lock import record

TERMS = 500
"""Number of terms that the history keeps."""

AT_ONCE = 0.01
"""Seconds: a free lock is acquired within this time; a longer wait means a takeover from another."""

AS_RECORDED = -1.0
"""A slot has this value in place of the seconds waited if the record has these and the lease."""

_TAIL = Struct("<dddd16s")
_CHECKSUM_SIZE = 4
_SLOT = b"%%.%db%%b\n" % record.COPY_SIZE
_TAIL_END = record.COPY_SIZE + 2 * (_TAIL.size + _CHECKSUM_SIZE)
SLOT_SIZE = 512
"""Bytes: no slot crosses a page boundary, at which SIGKILL can interrupt a write(2)."""

SIZE = record.SIZE + TERMS * SLOT_SIZE
"""Largest size of a lock file, in bytes."""


def place_of(term: int) -> int:
    """The offset in the file at which the term's slot begins."""
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
        waited: seconds for which the leader had waited for the lock.
        lease: seconds; None without a lease.
        beat: time of the leader's last beat, in seconds since the epoch; 0 before the first beat.
        until: time of the release, in seconds since the epoch; 0 while the leader leads.
        ended: the reason for the end: ``resigned``, for example.
    """
    tail = _TAIL.pack(waited, lease or 0, beat, until, ended.encode())
    # Hexadecimal digits keep the file a text.
    return _SLOT % (content, hexlify(tail + crc32(tail).to_bytes(_CHECKSUM_SIZE, "little")))


def read_tail(content: bytes) -> tuple[float, float | None, float, float, str] | None:
    """The arguments of `slot` after `content`; None if the tail is damaged, or not made by `slot`."""
    try:
        whole = bytes.fromhex(content[record.COPY_SIZE : _TAIL_END].decode("ascii"))
    except ValueError:
        return None
    tail, checksum = whole[: _TAIL.size], whole[_TAIL.size :]
    if len(tail) != _TAIL.size or checksum != crc32(tail).to_bytes(_CHECKSUM_SIZE, "little"):
        return None
    waited, lease, beat, until, ended = _TAIL.unpack(tail)
    # Anybody can write a slot with a right checksum, with NaN, or with escape sequences for a terminal.
    text = ended.rstrip(b"\0").decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        return None
    times = (lease, beat, until) if waited == AS_RECORDED else (waited, lease, beat, until)
    if not all(map(record.is_moment, times)):
        return None
    return waited, lease or None, beat, until, text


def archive(fd: int, content: bytes, term: int) -> None:
    """Write the slot of a term whose holder has not written it, from the record that the holder left.

    Raises:
        OSError: the slot cannot be written.
    """
    copy = record.whole_copy(content, term)
    if copy is not None and os.pread(fd, record.COPY_SIZE, place_of(term)) != copy:
        os.pwrite(fd, slot(copy), place_of(term))
