"""Finds every visible leaderlock lock on the machine."""

from __future__ import annotations

import contextlib
import glob
import os
import stat

from leaderlock.errors import LeaderLockError
from leaderlock.kernel.proc.open_files import descriptors_with_flocks, link_of, processes
from leaderlock.kernel.proc.processes import is_there
from leaderlock.lock import record
from leaderlock.lock.directory import OWN, SHARED
from leaderlock.status.facts import SearchFacts
from leaderlock.status.gathering.opened import open_lock
from leaderlock.status.gathering.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.open_files import Place


def all_locks() -> list[str]:
    """The path of every visible leaderlock lock, held or not.

    Searches the directories of named locks, of every user whose directory can be read, and each file
    in the kernel's lock table that contains a leaderlock record. A file without a path of its own (an
    anonymous lock, a deleted file) is returned as ``/proc/PID/fd/N``, a file in another mount namespace
    as ``/proc/PID/root/...``. `status_of` accepts these paths too, while that process lives.
    """
    return search(View()).paths


def search(view: View, known_to_be_locks: set[Place] | None = None) -> SearchFacts:
    """Search as `all_locks` does, and also return where the search was not possible.

    Args:
        view: one look at the machine.
        known_to_be_locks: the places of files whose record is not read again; new places are added.
            Opening the file again would wake a process that watches it.
    """
    locks = set() if known_to_be_locks is None else known_to_be_locks
    paths: list[str] = []
    known: set[Place] = set()
    closed = []
    for directory in lock_directories():
        try:
            names = sorted(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            closed.append(directory)
            continue
        for name in names:
            path = os.path.join(directory, name)
            if (
                name.endswith(".lock")
                and (place := _place(path, view)) is not None
                and place not in known
            ):
                known.add(place)
                paths.append(path)
    held, unseen = _paths_of_held(view, known, locks)
    return SearchFacts(paths + held, closed, unseen)


def lock_directories() -> list[str]:
    """The directories of named locks of every user, including missing ones.

    Includes the directories of version 0.1.0, in XDG_RUNTIME_DIR and TMPDIR.
    """
    environment = [
        os.environ.get("LEADERLOCK_DIR"),
        *os.environ.get("RUNTIME_DIRECTORY", "").split(":"),
    ]
    directories = [os.path.abspath(path) for path in environment if path]
    directories += [os.path.join(path, "leaderlock") for path in directories[:]]
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        directories.append(os.path.join(xdg, "leaderlock"))
    directories += [OWN, *sorted(glob.glob("/run/user/*/leaderlock"))]
    for place in dict.fromkeys((*SHARED, os.environ.get("TMPDIR") or "/tmp")):
        directories += sorted(glob.glob(os.path.join(glob.escape(place), "leaderlock-*")))
    return list(dict.fromkeys(directories))


def _place(path: str, view: View) -> Place | None:
    """The file's device and inode; None if the file is no lock file, or is gone."""
    try:
        with open_lock(path, view.mounts) as opened:
            return opened.place
    except LeaderLockError:
        return None


def _paths_of_held(view: View, known: set[Place], locks: set[Place]) -> tuple[list[str], int]:
    """The paths of the locked files with our record, and the number of files that cannot be seen."""
    held = {place: pid for place, pid in view.holders().items() if place not in known}
    seen_of = {pid: descriptors_with_flocks(pid) for pid in set(held.values())}
    descriptors = {place: path for seen in seen_of.values() for place, path in (seen or {}).items()}
    gone = {pid for pid in seen_of if not is_there(pid)}
    if any(pid in gone and place not in descriptors for place, pid in held.items()):
        # The process that took the lock has ended, and any other process may have inherited the lock.
        for pid in processes():
            descriptors = {**(descriptors_with_flocks(pid) or {}), **descriptors}
    # If we may look and do not find the lock, it was released meanwhile.
    closed = {pid for pid, seen in seen_of.items() if seen is None and os.geteuid() != 0}
    seen = {place for place in held if place in descriptors}
    locks |= {place for place in seen - locks if _has_record(descriptors[place])}
    unseen = sum(place not in seen and pid in closed for place, pid in held.items())
    return sorted(path_of(descriptors[place]) for place in seen & locks), unseen


def _has_record(descriptor: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(descriptor).st_mode):  # opening a device may act on the device
            return False
        fd = os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # process gone; file not readable for us; file with a lease (fcntl(2))
        return False
    try:
        content = os.pread(fd, record.SIZE, 0)
        return record.decode(content) is not None or record.oddity(content) is not None
    except OSError:  # EIO; ESTALE from a network file system
        return False
    finally:
        os.close(fd)


def path_of(descriptor: str) -> str:
    """A path to the same file: its own, or its path in the other mount namespace."""
    link = link_of(descriptor) or ""
    root = descriptor.split("/fd/", maxsplit=1)[0] + "/root"
    with contextlib.suppress(OSError):  # process gone or hidden, or a file server does not answer
        there = os.stat(descriptor)
        for path in (link, root + link):
            with contextlib.suppress(OSError):
                status = os.stat(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and os.path.samestat(status, there):
                    return path
    return descriptor
