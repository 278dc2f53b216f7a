"""A lock file given by a name: its directory is looked up at every try.

Since the last try, the directory may have been removed (a unit's RuntimeDirectory= ends with the unit),
and the process's user may have changed (a server drops root).
"""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError
from leaderlock.lock.directory import named_path, open_lock_directory, require_name
from leaderlock.lock.elsewhere import warn_of_rivals
from leaderlock.lock.file import LockFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.descriptors import Descriptor
    from leaderlock.lock.file import OnNetworkFilesystem, Settings


class NamedFile(LockFile):
    """A named file; its path is looked up when it is first needed by a user, and at every `open`."""

    is_named = True

    def __init__(self, name: str, mode: int, on_network_filesystem: OnNetworkFilesystem) -> None:
        self._found: tuple[int, str] | None = None
        self._has_warned_as: int | None = None
        self.name = require_name(name)
        super().__init__(None, name, mode, on_network_filesystem)

    def settings(self) -> Settings:
        """The arguments with which another process makes the same lock file."""
        return None, self.name, self._mode, self._on_network_filesystem

    @property
    def path(self) -> str:
        """The path where the file was found last, or where it would be made."""
        if self._found is None or self._found[0] != os.geteuid():
            self._found = (os.geteuid(), named_path(self.name))
        return self._found[1]

    @property
    def shown(self) -> str:
        """The path, or a note that no place can be used, for a repr."""
        try:
            return super().shown
        except LeaderLockError:
            return f"name={self.name!r} at no usable place"

    def open(self, descriptor: Descriptor, reach: str = "") -> None:
        """Open the file in its directory, which is looked up, checked, and made if it is missing.

        Raises:
            LeaderLockError: for the reasons of `LockFile.open` and `named_path`.
        """
        file = f"{self.name}.lock"
        with open_lock_directory() as directory:
            user = os.geteuid()
            self._found = (user, os.path.join(directory.path, file))
            if self._has_warned_as != user:
                self._has_warned_as = user
                warn_of_rivals(self.name, self._found[1])
            super().open(descriptor, directory.path_of(file))


def lock_file(
    path: str | os.PathLike[str] | None,
    name: str | None,
    mode: int,
    on_network_filesystem: OnNetworkFilesystem,
) -> LockFile:
    """The lock file with this path or this name; the caller gives one of the two."""
    if name is not None:
        return NamedFile(name, mode, on_network_filesystem)
    assert path is not None
    return LockFile(path, name, mode, on_network_filesystem)
