"""Warns if this user holds a lock of the same name elsewhere: the two do not exclude each other."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.mounts import place_of
from leaderlock.kernel.proc.queues import queue_on
from leaderlock.lock.directory import places
from leaderlock.log import log

_DECIDING = ("LEADERLOCK_DIR", "RUNTIME_DIRECTORY")


def directories_of_this_user() -> list[str]:
    """All directories that may have named locks of this user, with or without environment variables.

    They include those of version 0.1.0, which used XDG_RUNTIME_DIR and TMPDIR.
    """
    user = os.geteuid()
    chosen = [
        os.environ.get("LEADERLOCK_DIR", ""),
        *os.environ.get("RUNTIME_DIRECTORY", "").split(":"),
    ]
    found = [os.path.abspath(path) for path in chosen if path]
    found += [os.path.join(path, "leaderlock") for path in found[:]]
    found += places(user)
    for runtime in (os.environ.get("XDG_RUNTIME_DIR"), f"/run/user/{user}"):
        if runtime:
            found.append(os.path.join(os.path.abspath(runtime), "leaderlock"))
    if temporary := os.environ.get("TMPDIR"):
        found.append(os.path.join(os.path.abspath(temporary), f"leaderlock-{user}"))
    return list(dict.fromkeys(found))


def warn_of_rivals(name: str, path: str) -> None:
    """Log a warning for each other place where a process of this user holds the lock of that name."""
    by = next((variable for variable in _DECIDING if os.environ.get(variable)), None)
    for directory in directories_of_this_user():
        other = os.path.join(directory, f"{name}.lock")
        if other != path and (holder := _holder(other, path)) is not None:
            remedy = (
                f"unset {by}, or set it to the same directory for both"
                if by
                else "stop that process, or start it with the same environment as this one"
            )
            log().warning(
                "the lock %r lies at %s here%s, but process %d holds the lock of that name at %s: the "
                "two do not exclude each other; %s",
                name,
                path,
                f" (by {by})" if by else "",
                holder,
                other,
                remedy,
            )


def _holder(other: str, path: str) -> int | None:
    """The process that holds the lock of `other`; None if no process does, or `other` is `path`."""
    try:
        if os.lstat(other).st_uid != os.geteuid():
            return None
        fd = os.open(other, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, AttributeError):  # mostly ENOENT; EACCES; a system without O_PATH
        return None
    try:
        if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.lstat(path)):
            return None
        entries = queue_on(*place_of(fd))
    except OSError:  # the file was removed meanwhile
        return None
    finally:
        os.close(fd)
    return entries[0].pid if entries and not entries[0].waiting else None
