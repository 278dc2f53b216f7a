"""The file of an anonymous lock, in memory (memfd_create(2))."""

from __future__ import annotations

import os

from leaderlock.errors import Unsupported
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.lock.file import LockedFile
from leaderlock.lock.record import host_and_name
from leaderlock.lock.remedies import unusable


class MemoryFile(LockedFile):
    """A file without a path, shared with every process that is forked after the file was made."""

    has_path = False

    def __init__(self, name: str) -> None:
        if not hasattr(os, "memfd_create"):
            raise Unsupported("LeaderLock.anonymous needs memfd_create(2), which only Linux has")
        if not isinstance(name, str):
            raise TypeError(f"name must be text, not {name!r}")
        if not name or "\0" in name or len(os.fsencode(name)) > 200:
            raise ValueError(f"name must be 1 to 200 bytes without NUL, not {name!r}")
        super().__init__()
        self.name = name
        self.path = f"memfd:{name}"
        self.shown = f"path={self.path!r}"
        self.label = host_and_name(name)
        try:
            self._descriptor = Descriptor(inherited=True)
            self._descriptor.open_by(os.memfd_create, name, os.MFD_CLOEXEC)
        except OSError as error:
            raise unusable(error, "make the memory file", self.path) from error

    def open(self, descriptor: Descriptor) -> None:
        """Open the file again: the process needs an open file description of its own, not a dup(2)."""
        self._require_descriptor()
        try:
            # O_NONBLOCK has no effect on a file: it is a mark by which `Descriptor` recognizes its own.
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor.open(f"/proc/self/fd/{self._descriptor.fd}", flags)
        except FileNotFoundError as error:
            raise Unsupported(
                f"{self.path} cannot be opened in this process, since /proc is not mounted here: mount "
                f"it, or use a path"
            ) from error
        except OSError as error:
            raise unusable(error, "open the lock", self.path) from error

    def is_current(self, status: os.stat_result) -> bool:
        """Always True: a file without a path cannot be replaced."""
        return True

    def open_for_reading(self) -> int | None:
        """A descriptor for reading the record; not registered."""
        self._require_descriptor()
        return os.dup(self._descriptor.fd)

    def _require_descriptor(self) -> None:
        """Raise Unsupported if other code has closed the descriptor: its number may be reused."""
        if not self._descriptor.is_open():
            raise Unsupported(
                f"{self.path} is lost: other code in process {os.getpid()} has closed its descriptor "
                f"{self._descriptor.fd} (os.closerange, a daemoniser); make the lock after that, or "
                f"use a path"
            )

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self._descriptor.close_if_open()
