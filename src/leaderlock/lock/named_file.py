"""A lock file that is asked for by its name: its place is looked up at every try.

The directory may have gone since the last try (a unit's RuntimeDirectory= ends with the unit), and the
user may be another one (a server drops root).
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
    """A name whose path is looked up when it is first needed by a user, and at every `open`."""

    is_named = True

    def __init__(self, name: str, mode: int, on_network_filesystem: OnNetworkFilesystem) -> None:
        self._found: tuple[int, str] | None = None
        self._has_warned_as: int | None = None
        self.name = require_name(name)
        super().__init__(None, name, mode, on_network_filesystem)

    def settings(self) -> Settings:
        """What another process needs to make the same."""
        return None, self.name, self._mode, self._on_network_filesystem

    @property
    def path(self) -> str:
        """Where it was found last, or where it would be."""
        if self._found is None or self._found[0] != os.geteuid():
            self._found = (os.geteuid(), named_path(self.name))
        return self._found[1]

    @property
    def shown(self) -> str:
        """Where it lies, or that no place can be used, for a repr."""
        try:
            return super().shown
        except LeaderLockError:
            return f"name={self.name!r} at no usable place"

    def open(self, descriptor: Descriptor, reach: str = "") -> None:
        """Open it in its directory, which is looked up, checked, and made if it is missing.

        Raises:
            LeaderLockError: as `LockFile.open` and `named_path` do.
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
    """The file at a path, or of a name: one of the two is given."""
    if name is not None:
        return NamedFile(name, mode, on_network_filesystem)
    assert path is not None
    return LockFile(path, name, mode, on_network_filesystem)
