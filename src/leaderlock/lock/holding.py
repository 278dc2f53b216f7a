"""What a holder does with its file while it holds the lock: look, beat, mend, write the history."""

from __future__ import annotations

import os
import time

from leaderlock.errors import NotHeld
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.lock import journal, record
from leaderlock.lock.file import write_record
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.lock.file import LockFile
    from leaderlock.lock.memory_file import MemoryFile


class Holding:
    """A file's lock that is held; `acquisition.Hold` acquires and releases it.

    Attributes:
        descriptor: the locked descriptor.
        is_journalled: whether the history has an entry for this acquisition.
        term: the fencing token.
        waited: seconds for which others held the file's lock during the wait.
    """

    __slots__ = (
        "_can_journal",
        "_content",
        "_file",
        "_last_beat",
        "descriptor",
        "is_journalled",
        "term",
        "waited",
    )
    _file: LockFile | MemoryFile
    _can_journal: bool
    _content: bytes
    _last_beat: float
    descriptor: Descriptor
    is_journalled: bool
    term: int
    waited: float

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
        """Record in the history that the leader lives.

        Raises:
            NotHeld: on a network file system, the server has dropped the lock.
        """
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
            if os.pread(fd, record.SIZE, 0) == self._content:
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

    def _cannot_journal(self, error: OSError) -> None:
        self._can_journal = False
        log().warning("the history in %s has a gap: %s", self._file.path, error.strerror)

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
