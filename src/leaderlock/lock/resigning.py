"""A request to resign, and the leader's word on whether it heeds one: two lines in the term's slot.

Both stand behind what the history has of the term, name the term and have a checksum: what is left of
an earlier term, or is broken, counts for nothing. Whoever may write to the lock file may ask. The
file's times are set after the request: that is an event for the leader's watch (inotify's IN_ATTRIB),
which it has anyway.
"""

from __future__ import annotations

import os
from binascii import crc32

from leaderlock.errors import NotHeld
from leaderlock.lock import journal
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.lock.leader_lock import LeaderLock

HEEDS = b"heeds"
HOLDS = b"holds"
"""The task has returned: what it started goes on, and nobody can stop that from outside."""
_RESIGN = b"resign"

ON_REQUEST = "on request"
"""How the history's slot has such an end."""

PAUSE = 1.0
"""Seconds until who was asked stands again: the kernel wakes the first one in the queue, and a
newcomer that asks before that one has run gets the lock."""

_SIZE = 48
_ANSWER, _REQUEST = 368, 416
"""Where in the slot they begin: `journal.slot` ends before, and the slot after."""


class Request:
    """What a leader knows of a request to end its term.

    Attributes:
        asked: whether it has seen one, and so asked its task to stop.
    """

    def __init__(self, lock: LeaderLock) -> None:
        self.asked = False
        self._lock = lock
        self._holds = False

    @property
    def how(self) -> str:
        """What the history says of the end of a term whose task has stopped."""
        return ON_REQUEST if self.asked else "resigned"

    @property
    def pause(self) -> float:
        """Seconds until this process may stand again."""
        return PAUSE if self.asked else 0.0

    def accept(self) -> None:
        """Say that a request is heeded."""
        answer(self._lock, HEEDS)

    def refuse(self) -> None:
        """Say that the task has returned: what it started cannot be stopped by a request."""
        self._holds = True
        answer(self._lock, HOLDS)

    def heed(self) -> None:
        """Look for a request; `asked` says whether there is one."""
        if not (self.asked or self._holds) and is_asked(self._lock):
            self.asked = True
            log().info("process %d is asked to resign from %s", os.getpid(), self._lock.path)


def answer(lock: LeaderLock, word: bytes) -> None:
    """In the leader: say whether it heeds a request. A disk that is full costs just that."""
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
    """In the leader: whether somebody asks it to end this term."""
    hold = lock._gate.inside
    if hold is None or not hold.is_held:
        return False
    try:
        return _is_there(hold.fd, _RESIGN, hold.term, _REQUEST)
    except (OSError, NotHeld):
        return False


def answer_of(fd: int, term: int) -> bytes | None:
    """What the leader of a term says; None if it says nothing, as those before version 0.2 do."""
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
