"""Finds the lock file for a word of the command line: a path, or the name of a lock."""

from __future__ import annotations

import os
import stat

from leaderlock.cli.options import Option, UsageError
from leaderlock.engines.urls import is_url
from leaderlock.errors import LeaderLockError
from leaderlock.lock.directory import require_name
from leaderlock.lock.elsewhere import directories_of_this_user
from leaderlock.status.gathering.machine import all_locks, lock_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.options import Parsed

NAME = Option(
    "--name",
    value="NAME",
    help="the lock with this name, as for run --name",
    completes="name",
    is_setting=False,
)
NAMES = Option(
    "--name",
    value="NAME",
    help="the lock with this name, as for run --name; may be repeated",
    completes="name",
    many=True,
    is_setting=False,
)
NOTES = """\
A word without "/" is a file of the current directory, if there is one, otherwise the name
of a lock. ./WORD is always a path, and --name WORD is always a name. leaderlock searches
a name among this user's locks, then among other users' locks, then among all held locks."""


class UnknownName(LeaderLockError):
    """No visible lock has the name."""


def chosen(parsed: Parsed) -> list[str]:
    """The paths of the given locks, which may be paths or names.

    Raises:
        UsageError: the name is invalid.
        UnknownName: no lock has the name.
    """
    given = parsed.get("name", [])
    names = [given] if isinstance(given, str) else given
    return [path for name in names for path in _required(name)] + [
        path for word in parsed.words for path in paths_of_word(word)
    ]


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The URLs of elections in engines, and the other words."""
    urls = [word for word in words if is_url(word)]
    return urls, [word for word in words if not is_url(word)]


def chosen_url(parsed: Parsed) -> str | None:
    """The URL, if one was given in place of a lock.

    Raises:
        UsageError: something else was given beside the URL.
    """
    urls, others = split(parsed.words)
    if urls and (others or len(urls) > 1 or "name" in parsed.values):
        raise UsageError("one lock is enough: a PATH, the NAME of a lock, or a URL")
    return urls[0] if urls else None


def chosen_one(parsed: Parsed) -> str | None:
    """The path of the given lock; None if no lock was given.

    Raises:
        UsageError: more than one lock was given.
        UnknownName: no lock has the name.
        LeaderLockError: several users have a lock of that name.
    """
    if len(parsed.words) + ("name" in parsed.values) > 1:
        raise UsageError("one lock is enough: a PATH, or the NAME of a lock")
    paths = chosen(parsed)
    if len(paths) > 1:
        raise LeaderLockError(f"several locks have that name: give the path of one: {', '.join(paths)}")
    return paths[0] if paths else None


def paths_of_word(word: str) -> Sequence[str]:
    """The word itself, if it is a path; otherwise the paths of the locks of that name."""
    if "/" in word or "\0" in word or not word or os.path.lexists(word):
        return [word]
    try:
        require_name(word)
    except ValueError:
        return [word]
    return paths_of_name(word) or [word]


def paths_of_name(name: str) -> list[str]:
    """This user's lock with that name, or all other users' locks with that name."""
    file = f"{name}.lock"
    for directory in directories_of_this_user():
        path = os.path.join(directory, file)
        if _is_file(path, os.geteuid()):
            return [path]
    others = [os.path.join(directory, file) for directory in lock_directories()]
    if found := [path for path in others if _is_file(path, None)]:
        return found
    # For example the lock of a systemd unit, whose $RUNTIME_DIRECTORY is not known here.
    return [path for path in all_locks() if os.path.basename(path) == file]


def _required(name: str) -> list[str]:
    try:
        require_name(name)
    except ValueError as error:
        raise UsageError(str(error).replace("name must", "--name must", 1)) from None
    if paths := paths_of_name(name):
        return paths
    raise UnknownName(
        f"no lock that can be seen from here has the name {name!r}: nobody has used it yet, or only "
        f"root may look where it lies"
    )


def _is_file(path: str, owner: int | None) -> bool:
    try:
        status = os.lstat(path)
    except OSError:  # usually ENOENT; EACCES
        return False
    return stat.S_ISREG(status.st_mode) and owner in (None, status.st_uid)
