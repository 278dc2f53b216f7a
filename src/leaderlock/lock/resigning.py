"""A request to resign, and the leader's answer whether it accepts one: two lines in the term's slot.

Both lines stand behind the history's part of the slot, name the term and have a checksum: a line of an
earlier term, or a damaged line, is ignored. Every process that may write to the lock file may ask. The
request then sets the file's times: this wakes the leader's watch, which runs anyway (inotify's
IN_ATTRIB).
"""

from __future__ import annotations

import os
from binascii import crc32

from leaderlock.errors import NotHeld
from leaderlock.lock import journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.lock.leader_lock import LeaderLock

HEEDS = b"heeds"
HOLDS = b"holds"
"""The task has returned. The code that it started goes on, and cannot be stopped from outside."""
_RESIGN = b"resign"

ON_REQUEST = "on request"
"""The reason for such an end in the history's slot."""

PAUSE = 1.0
"""Seconds until a process that was asked to resign stands again. The kernel wakes the first process in
the queue, and a newcomer that asks before the woken process has run gets the lock."""

_SIZE = 48
_ANSWER, _REQUEST = 368, 416
"""Offsets of the two lines in the slot, behind the part that `journal.slot` writes."""


class SeenRequest:
    """A leader's knowledge of a request to end its term, in whichever way the request comes.

    Attributes:
        asked: whether the leader has seen a request, and so asked its task to stop.
    """

    def __init__(self) -> None:
        self.asked = False
        self._holds = False

    @property
    def how(self) -> str:
        """The reason for the end of a term whose task has stopped, for the history."""
        return ON_REQUEST if self.asked else "resigned"

    @property
    def pause(self) -> float:
        """Seconds until this process may stand again."""
        return PAUSE if self.asked else 0.0


class Request(SeenRequest):
    """A request in the lock's file, and the answer there."""

    def __init__(self, lock: LeaderLock) -> None:
        super().__init__()
        self._lock = lock

    def accept(self) -> None:
        """Announce that the leader accepts a request."""
        answer(self._lock, HEEDS)

    def refuse(self) -> None:
        """Announce that the task has returned: a request cannot stop the code that it started."""
        self._holds = True
        answer(self._lock, HOLDS)

    def heed(self) -> None:
        """Look for a request; `asked` says whether there is one."""
        if not (self.asked or self._holds) and is_asked(self._lock):
            self.asked = True


def answer(lock: LeaderLock, word: bytes) -> None:
    """In the leader: write whether it accepts a request. On a full disk, only the answer is missing."""
    hold = lock._gate.inside
    if hold is None or not hold.is_held or not lock._file.has_path:
        return
    try:
        if not hold.is_journalled:
            hold.journal()
        os.pwrite(hold.fd, _line(word, hold.term), journal.place_of(hold.term) + _ANSWER)
    except (OSError, NotHeld):  # ENOSPC; other code has closed the descriptor
        return


def is_asked(lock: LeaderLock) -> bool:
    """In the leader: whether another process asks it to end this term."""
    hold = lock._gate.inside
    if hold is None or not hold.is_held:
        return False
    try:
        return _is_there(hold.fd, _RESIGN, hold.term, _REQUEST)
    except (OSError, NotHeld):
        return False


def answer_of(fd: int, term: int) -> bytes | None:
    """The answer of a term's leader; None without an answer, as from leaders before version 0.2."""
    return next((word for word in (HEEDS, HOLDS) if _is_there(fd, word, term, _ANSWER)), None)


def ask(fd: int, term: int) -> None:
    """Ask the leader of a term to resign.

    Raises:
        OSError: the file cannot be written to.
    """
    os.pwrite(fd, _line(_RESIGN, term), journal.place_of(term) + _REQUEST)
    os.utime(fd)


def _line(word: bytes, term: int) -> bytes:
    body = b"%b %d" % (word, term)
    return (b"%b %08x" % (body, crc32(body))).ljust(_SIZE - 1) + b"\n"


def _is_there(fd: int, word: bytes, term: int, where: int) -> bool:
    return os.pread(fd, _SIZE, journal.place_of(term) + where) == _line(word, term)
