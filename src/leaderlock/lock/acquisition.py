"""One acquisition: a descriptor of its own, locked, with the next term written into the file."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from leaderlock.kernel import descriptors
from leaderlock.kernel.descriptors import MARKS, NOT_KNOWN, Descriptor, registered
from leaderlock.kernel.flock import close_unlocked, flock, forget_lost, wait_here
from leaderlock.lock import journal
from leaderlock.lock.file import write_record
from leaderlock.lock.holding import Holding
from leaderlock.lock.journal import AT_ONCE, SLOT_SIZE, TERMS
from leaderlock.lock.record import COPY_SIZE, SIZE, encode, greatest_term, last_term, term_of
from leaderlock.lock.remedies import refusal, unusable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.file import LockFile
    from leaderlock.lock.memory_file import MemoryFile

_new = object.__new__
_GET_FLAGS = fcntl.F_GETFL


class Hold(Holding):
    """One acquisition of a file's lock by one acquirer, from its beginning to its end.

    The maker of a hold must call `close` in the end, in every case: a signal handler may raise
    (KeyboardInterrupt) at any instant, also while a result is being returned to the caller. Therefore
    the hold has its descriptor before the descriptor is locked.

    The steps from the open to the written record stand in one function, in their order, for speed: see
    "How it is built".

    Attributes:
        descriptor: set before the file is opened, and kept until after it is closed.
        is_held: acquisition is complete; the code that sets it to False must release.
        is_journalled: whether the history has an entry for this acquisition.
        term: the fencing token; known once the lock is held.
        since: the time of the acquisition, in seconds since the epoch.
        waited: seconds for which others held the file's lock during the wait.
        wake: called when the gate has granted a place; set before the hold queues up there.
    """

    __slots__ = ("_is_locked", "is_held", "since", "wake")
    wake: Callable[[], object]
    since: float

    def __init__(self, file: LockFile | MemoryFile) -> None:
        self._file = file
        # For speed: see "How it is built". The steps of `Descriptor.__init__`, without the call.
        self.descriptor = descriptor = _new(Descriptor)
        descriptor.fd = descriptor.marks = -1
        descriptor.inherited = False
        descriptor.status = NOT_KNOWN
        self._is_locked = False
        self.waited = 0.0
        self._can_journal = True
        self.is_journalled = False
        self._last_beat = 0.0
        self.is_held = False

    def take(self, timeout: float | None, wait: Wait | None) -> bool:
        """Queue for the lock; False after `timeout` seconds (0: at once) or if `wait` is cancelled.

        The wait starts over if the file was replaced, or the descriptor closed by other code.
        """
        file, descriptor = self._file, self.descriptor
        deadline = None if not timeout else time.monotonic() + timeout
        while True:
            file.open(descriptor)
            if wait is not None:  # of an election or a supervisor: its leader will watch the file
                descriptor.move_up()
            try:
                # For speed: see "How it is built". A lock that is free needs no call.
                if wait is None and timeout is None:
                    try:
                        fcntl.flock(descriptor.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        locked = True
                    except BlockingIOError:
                        locked = self._lock(descriptor.fd, None, None)
                else:
                    locked = self._lock(descriptor.fd, timeout, wait)
            except OSError as error:
                if error.errno != errno.EBADF or not self.waited or self.is_open():
                    raise refusal(error, file.path) from error
                locked = True
            if not locked:
                close_unlocked(descriptor, on_network=file.is_network)
                return False
            if self.waited and not descriptor.is_open(on_network=file.is_network):
                forget_lost(descriptor, file.path)
            elif file.is_current(descriptor.status):
                break
            descriptor.close()
            if deadline is not None:
                timeout = max(deadline - time.monotonic(), 0)
        self._is_locked = True
        fd = descriptor.fd
        content, term = file.last_written
        if term < file.last_seen:  # noqa: PLR1730  (`max` takes as long as the call of a function)
            term = file.last_seen
        try:
            before = os.pread(fd, SIZE, 0)
            if file.last_read and before != file.last_read:
                term = max(term, greatest_term(file.last_read))
            if before != content:  # another process led meanwhile
                # For speed: see "How it is built". Equal copies, the common case, need no call.
                copy = before[:COPY_SIZE]
                last = term_of(copy) if before[COPY_SIZE:] == copy else 0
                term = max(term, last or last_term(before, file.path, term))
            if (
                before
                and file.journalled != term
                # For speed: see "How it is built". This is `journal.place_of`.
                and os.pread(fd, COPY_SIZE, SIZE + term % TERMS * SLOT_SIZE) != before[:COPY_SIZE]
            ):  # archive the last term if its holder died before writing its slot
                self._archive(fd, before, term)
            term += 1
            moment = time.time_ns()
            self.since = moment / 1e9
            waited = self.waited
            reported = waited if waited > AT_ONCE else None
            self._content = content = encode(
                term, moment, file.label, reported, file.lease, descriptors.owner_pid
            )
            self.term = term
            if os.pwrite(fd, content, 0) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if file.is_network:  # without it, another client could use the term again after a cut
                os.fsync(fd)
        except OSError as error:
            raise unusable(error, "write the record", file.path) from error
        file.last_written = (content, term)
        return True

    def _lock(self, fd: int, timeout: float | None, wait: Wait | None) -> bool:
        # For speed: see "How it is built". Skip the non-blocking try if nobody is told that
        # we block: a cold BlockingIOError copies as many pages as all other steps together.
        if wait is None or wait.before_parking is not None or timeout is not None:
            if wait is not None and wait.cancelled:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if timeout == 0:
                    self._file.remember(os.pread(fd, SIZE, 0))
                    return False
        content = os.pread(fd, SIZE, 0)
        # For speed: see "How it is built". The first record needs no call.
        if not self._file.last_read:
            self._file.last_read = content
        elif content != self._file.last_read:
            self._file.remember(content)
        began = time.monotonic()
        try:
            return wait_here(fd, timeout) if wait is None else flock(fd, wait, timeout)
        finally:
            self.waited += time.monotonic() - began

    def _archive(self, fd: int, before: bytes, term: int) -> None:
        try:
            journal.archive(fd, before, term)
        except OSError as error:
            self._cannot_journal(error)

    def release(self, how: str = "released") -> None:
        """Release the lock.

        LOCK_UN comes before close(2): close alone would leave the lock with any process that has
        inherited the descriptor.

        Args:
            how: the reason for the end, for the history.

        Raises:
            NotHeld: other code has closed the descriptor, and so dropped the lock.
        """
        descriptor, file = self.descriptor, self._file
        fd, marks = descriptor.fd, descriptor.marks
        try:  # does the descriptor lead to this term's record, and so to the locked file?
            # For speed: see "How it is built". These are the steps of `Descriptor.is_ours`.
            intact = (
                registered.get(fd) is descriptor
                and (marks < 0 or fcntl.fcntl(fd, _GET_FLAGS) & MARKS == marks)
                and os.pread(fd, SIZE, 0) == self._content
            )
        except OSError:  # EBADF; ESPIPE, EISDIR: the number was reused
            intact = False
        if not intact:
            self.require_open()
        try:
            # Others can overwrite the record at any time: see `mend`.
            if not intact:
                write_record(fd, self._content, file.path)
            # For speed: see "How it is built". These are the steps of `_journal`.
            if self._can_journal:
                slot = journal.slot(
                    self._content, self.waited, file.lease, self._last_beat, time.time(), how
                )
                try:
                    os.pwrite(fd, slot, SIZE + self.term % TERMS * SLOT_SIZE)
                except OSError as error:
                    self._cannot_journal(error)
            self.is_journalled = True
            file.journalled = self.term
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
            descriptor.close()

    def close(self) -> None:
        """Release whatever part of the lock the hold has, unless the descriptor is closed already."""
        descriptor = self.descriptor
        if not self._is_locked:
            close_unlocked(descriptor, on_network=self._file.is_network)
        elif descriptor.is_open():  # an exception interrupted `release`
            fcntl.flock(descriptor.fd, fcntl.LOCK_UN)
            descriptor.close()
        else:
            descriptor.forget()
