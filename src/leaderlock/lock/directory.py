"""The directory of locks that have only a name: the choice depends on the user alone.

The choice does not depend on a login (/run/user/UID is removed when the last session ends), and not on
XDG_RUNTIME_DIR or TMPDIR, which a shell has and cron has not. The safest place comes first: nothing
cleans /run/leaderlock and /run/lock by age; /var/tmp is cleaned after 30 days, /tmp after 10. logind
empties /dev/shm at a user's last logout, but a container with a read-only root may have no other place.
"""

from __future__ import annotations

import errno
import os

from leaderlock.errors import LockFileUnusable, UnsafeLockFile
from leaderlock.lock.trusted import Directory, UnsafeParent, open_private, open_trusted

OWN = "/run/leaderlock"
SHARED = ("/run/lock", "/var/tmp", "/tmp", "/dev/shm")

_NOT_HERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
"""Errors that no other user can cause; after these, the next place is tried. Any other error (a full
disk, a directory that another user made first) ends the search: that user could split one lock in two.
"""


def named_path(name: str) -> str:
    """The path of the lock called `name`; its directory is made if it is missing.

    The directory is ``$LEADERLOCK_DIR``, a unit's ``$RUNTIME_DIRECTORY``, or the first usable one of
    `places`.

    Raises:
        ValueError: the name cannot be a file's name.
        UnsafeLockFile: others could replace the directory, or the lock in it.
        LockFileUnusable: no directory can be used.
    """
    return os.path.join(lock_directory(), f"{require_name(name)}.lock")


def require_name(name: str) -> str:
    """Return the name if it can be a file's name; raise ValueError, or TypeError if it is no text."""
    if not isinstance(name, str):
        raise TypeError(f"name must be text, not {name!r}")
    if not name or "/" in name or not name.isprintable() or name.startswith(".") or len(name) > 100:
        raise ValueError(
            f"name must be 1 to 100 printable characters, without '/', the first one not '.'; "
            f"it is {name!r}"
        )
    return name


def places(user: int) -> list[str]:
    """The directories for a user's named locks if no environment variable is set, in order."""
    return [OWN, *(f"{shared}/leaderlock-{user}" for shared in SHARED)]


def lock_directory() -> str:
    """The private directory of the named locks; made if it is missing."""
    with open_lock_directory() as directory:
        return directory.path


def open_lock_directory() -> Directory:
    """Open the private directory of the named locks; make it if it is missing.

    Raises:
        UnsafeLockFile, LockFileUnusable: as for `named_path`.
    """
    if chosen := os.environ.get("LEADERLOCK_DIR"):
        return open_private(os.path.abspath(chosen))
    # systemd lists the directories of RuntimeDirectory= with colons between.
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return _private_or_inside(os.path.abspath(runtime))
    return _first_usable()


def _private_or_inside(runtime: str) -> Directory:
    """Open the unit's runtime directory if it is private, or a private directory inside it.

    Systemd makes a runtime directory with mode 0755, unless the unit sets another one. With
    ``DynamicUser=`` the directory may be a symlink into /run/private, made by root.
    """
    try:
        directory = open_trusted(runtime, follow=True)
    except LockFileUnusable as error:
        raise LockFileUnusable(
            error, "use $RUNTIME_DIRECTORY", runtime, "set RuntimeDirectory= in the unit"
        ) from error
    status = directory.status
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return directory
    directory.close()
    if status.st_uid == os.geteuid() and not status.st_mode & 0o022:
        return open_private(os.path.join(runtime, "leaderlock"))
    return open_private(os.path.realpath(runtime))  # raises an error with the reason


def _first_usable() -> Directory:
    refusals: list[str] = []
    failure: OSError | None = None
    for place in places(os.geteuid()):
        try:
            directory = _open_place(place)
        except LockFileUnusable as error:
            if error.errno not in _NOT_HERE:
                raise
            failure = error
            refusals.append(f"{place}: {os.strerror(error.errno or 0)}")
        except UnsafeParent:
            refusals.append(f"{place}: another user can replace a directory above it")
        else:
            if directory is not None:
                return directory
            refusals.append(f"{place}: belongs to another user")
    raise LockFileUnusable(
        failure or PermissionError(errno.EACCES, ""),
        "find a directory for the locks that have a name",
        OWN,
        f"set LEADERLOCK_DIR to a directory that only user {os.geteuid()} can write to (a tmpfs, for "
        f"example), or give the lock a path. Tried: {'; '.join(refusals)}",
    )


def _open_place(place: str) -> Directory | None:
    """Open a place, made if it is missing; None for /run/leaderlock if it is another user's."""
    user = os.geteuid()
    if place == OWN:
        try:
            if os.lstat(place).st_uid != user:
                return None
        except OSError:  # ENOENT: perhaps `open_private` can make it
            pass
    directory = open_private(place)
    try:
        if directory.status.st_uid != user:
            raise UnsafeLockFile(
                f"{place} belongs to user {directory.status.st_uid}, and that user could replace the "
                f"lock files in it. Remove the directory, or set LEADERLOCK_DIR to a directory of user "
                f"{user}"
            )
        if directory.is_read_only():
            error = OSError(errno.EROFS, os.strerror(errno.EROFS))
            raise LockFileUnusable(error, "use the directory", place)
    except BaseException:
        directory.close()
        raise
    return directory
