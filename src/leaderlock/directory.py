"""Where a lock lies that has only a name: in the first usable of a few private directories."""

from __future__ import annotations

import errno
import os
import stat

from leaderlock.errors import LockFileUnusable, UnsafeLockFile


def named_path(name: str) -> str:
    """The path of the lock called `name`; its directory is made if it is missing.

    In this order: ``$LEADERLOCK_DIR``, ``$RUNTIME_DIRECTORY``, ``$XDG_RUNTIME_DIR/leaderlock``,
    ``/run/leaderlock``, ``<tempdir>/leaderlock-<uid>``. The processes of one user with the same
    environment all find the same one.

    Raises:
        ValueError: the name cannot be a file's name.
        UnsafeLockFile: the directory is not ours alone, so that others could replace the lock.
        LockFileUnusable: the directory cannot be made.
    """
    return os.path.join(lock_directory(), f"{require_name(name)}.lock")


def require_name(name: str) -> str:
    """The name itself, if it can be a file's name; else ValueError, or TypeError if it is no text."""
    if not isinstance(name, str):
        raise TypeError(f"name must be text, not {name!r}")
    if not name or "/" in name or not name.isprintable() or name.startswith(".") or len(name) > 100:
        raise ValueError(
            f"name must be 1 to 100 printable characters without '/' that do not begin with '.', "
            f"not {name!r}"
        )
    return name


def lock_directory() -> str:
    """The private directory in which the locks lie that have a name; made if it is missing."""
    if chosen := os.environ.get("LEADERLOCK_DIR"):
        return _private(os.path.abspath(chosen))
    # systemd lists the directories of RuntimeDirectory= with colons between.
    if runtime := os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]:
        return _private_or_inside(runtime)
    shared = ["/run/leaderlock"]
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        shared.insert(0, os.path.join(xdg, "leaderlock"))
    for candidate in shared:
        try:
            if _owner_if_present(candidate) in (None, os.geteuid()):
                return _private(candidate)
        except LockFileUnusable:
            continue  # this user cannot make it
    import tempfile  # noqa: PLC0415

    return _private(os.path.join(tempfile.gettempdir(), f"leaderlock-{os.geteuid()}"))


def _private_or_inside(runtime: str) -> str:
    """Systemd makes the directory 0755 unless told otherwise; then ours lies inside it."""
    try:
        status = os.lstat(runtime)
    except OSError as error:
        raise LockFileUnusable(
            error, "use $RUNTIME_DIRECTORY", runtime, "set RuntimeDirectory= in the unit"
        ) from error
    readable_only = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
    if readable_only and status.st_mode & 0o077 and status.st_uid == os.geteuid():
        return _private(os.path.join(runtime, "leaderlock"))
    return _private(runtime)


def _owner_if_present(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockFileUnusable(error, "look at the directory", path) from error


def _private(path: str) -> str:
    """Make the directory if it is missing, and refuse it unless it is 0700 and ours."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        # A directory that is there answers EROFS or EACCES too, as mkdir checks those first.
        if error.errno == errno.ENOENT or not os.path.isdir(path):
            remedy = "make it yourself, with mode 0700, or set LEADERLOCK_DIR to another one"
            raise LockFileUnusable(error, "make the directory", path, remedy) from error
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeLockFile(f"{path} is not a directory: set LEADERLOCK_DIR to one of your own")
    if status.st_uid != os.geteuid():
        raise UnsafeLockFile(
            f"{path} belongs to user {status.st_uid}, who could replace the lock files in it: set "
            f"LEADERLOCK_DIR to a directory of user {os.geteuid()}"
        )
    if status.st_mode & 0o077:
        raise UnsafeLockFile(
            f"{path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}): run "
            f"`chmod 0700 {path}`, or set LEADERLOCK_DIR to a directory that is"
        )
    return path
