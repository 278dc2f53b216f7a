"""One acquisition: a descriptor of its own, locked, with the next term written into the file."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from leaderlock.errors import NotHeld
from leaderlock.kernel import descriptors
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.kernel.flock import close_unlocked, flock, forget_lost, wait_here
from leaderlock.lock import journal
from leaderlock.lock.file import write_record
from leaderlock.lock.journal import AT_ONCE, SLOT_SIZE, TERMS
from leaderlock.lock.record import COPY_SIZE, SIZE, encode, greatest_term, last_term, term_of
from leaderlock.lock.remedies import refusal, unusable
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.wait import Wait
    from leaderlock.lock.file import LockFile
    from leaderlock.lock.memory_file import MemoryFile


class Hold:
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

    __slots__ = (
        "_can_journal",
        "_content",
        "_file",
        "_is_locked",
        "_last_beat",
        "descriptor",
        "is_held",
        "is_journalled",
        "since",
        "term",
        "waited",
        "wake",
    )
    wake: Callable[[], object]
    term: int
    since: float
    _content: bytes

    def __init__(self, file: LockFile | MemoryFile) -> None:
        self._file = file
        self.descriptor = Descriptor()
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
        term = max(term, file.last_seen)
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
            self.since = time.time()
            waited = self.waited
            reported = waited if waited > AT_ONCE else None
            self._content = content = encode(
                term, self.since, file.label, reported, file.lease, descriptors.owner_pid
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

    @property
    def fd(self) -> int:
        """The locked descriptor."""
        return self.require_open().fd

    def is_current(self) -> bool:
        """Whether the path still names the file that is locked.

        Raises:
            NotHeld: other code has closed the descriptor.
        """
        return self._file.is_current(self.require_open().status)

    def beat(self) -> None:
        """Record in the history that the leader lives; `NotHeld` if a file server dropped the lock."""
        self._last_beat = time.time()
        self.journal()
        if self._file.is_network:
            self._require_kept()

    def _require_kept(self) -> None:
        """Write a byte: on NFS only a write fails after the server drops the lock (nfs(5))."""
        descriptor = self.require_open()
        try:
            os.pwrite(descriptor.fd, self._content[:1], journal.place_of(self.term))
            os.fsync(descriptor.fd)
        except OSError as error:
            raise NotHeld(
                f"{self._file.path} is no longer held: its server has not heard from this machine "
                f"for too long, and has given the lock up ({error.strerror})"
            ) from error

    def mend(self) -> None:
        """Write the record again if others have overwritten it; raises `NotHeld` as `require_open`."""
        fd = self.require_open().fd
        try:
            if os.pread(fd, SIZE, 0) == self._content:
                return
            write_record(fd, self._content, self._file.path)
            log().warning("%s was overwritten while it was held; its record is mended", self._file.path)
        except OSError as error:  # the release tries again
            log().warning("%s cannot be mended: %s", self._file.path, error.strerror)

    def journal(self, until: float = 0, ended: str = "") -> None:
        """Write the whole slot of the term into the history: others may have overwritten parts of it.

        Args:
            until: the end of the term, in seconds since the epoch; 0 while the term lasts.
            ended: the reason for the end.
        """
        if self.descriptor.is_open():
            self._journal(until, ended)

    def _journal(self, until: float, ended: str) -> None:
        descriptor = self.descriptor
        self.is_journalled = True
        if self._can_journal:
            slot = journal.slot(
                self._content, self.waited, self._file.lease, self._last_beat, until, ended
            )
            try:
                os.pwrite(descriptor.fd, slot, journal.place_of(self.term))
            except OSError as error:
                self._cannot_journal(error)
        if until:
            self._file.journalled = self.term

    def _archive(self, fd: int, before: bytes, term: int) -> None:
        try:
            journal.archive(fd, before, term)
        except OSError as error:
            self._cannot_journal(error)

    def _cannot_journal(self, error: OSError) -> None:
        self._can_journal = False
        log().warning("the history in %s has a gap: %s", self._file.path, error.strerror)

    def release(self, how: str = "released") -> None:
        """Release the lock.

        LOCK_UN comes before close(2): close alone would leave the lock with any process that has
        inherited the descriptor.

        Args:
            how: the reason for the end, for the history.

        Raises:
            NotHeld: other code has closed the descriptor, and so dropped the lock.
        """
        descriptor = self.descriptor
        try:  # does the descriptor lead to this term's record, and so to the locked file?
            intact = descriptor.is_ours() and os.pread(descriptor.fd, SIZE, 0) == self._content
        except OSError:  # EBADF; ESPIPE, EISDIR: the number was reused
            intact = False
        if not intact:
            self.require_open()
        try:
            # Others can overwrite the record at any time: see `mend`.
            if not intact:
                write_record(descriptor.fd, self._content, self._file.path)
            self._journal(time.time(), how)
        finally:
            fcntl.flock(descriptor.fd, fcntl.LOCK_UN)
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

    def is_open(self) -> bool:
        """Whether the descriptor is open. If other code has closed it, the lock is lost."""
        return self.descriptor.is_open(on_network=self._file.is_network)

    def require_open(self) -> Descriptor:
        """The descriptor; `NotHeld` if other code has closed it: its number may be reused by now."""
        descriptor = self.descriptor
        if not descriptor.is_open(on_network=self._file.is_network):
            descriptor.forget()
            raise NotHeld(
                f"{self._file.path} is no longer held: other code in process {os.getpid()} has closed "
                f"its descriptor (os.closerange, a daemoniser), and the lock went with it; acquire it "
                f"after that"
            )
        return descriptor
