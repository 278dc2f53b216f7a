"""Every leaderlock lock on the machine that can be seen."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from typing import NamedTuple

from leaderlock.errors import LeaderLockError
from leaderlock.kernel.proc.open_files import descriptors_with_flocks, link_of, processes
from leaderlock.kernel.proc.processes import is_there
from leaderlock.lock import record
from leaderlock.status.opened import open_lock
from leaderlock.status.people import user_name
from leaderlock.status.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.open_files import Place


class Found(NamedTuple):
    """The paths of all locks, and what could not be looked at: None if everything could."""

    paths: list[str]
    hidden: str | None


def all_locks() -> list[str]:
    """The path of every leaderlock lock that can be seen, held or not.

    These are the locks in the directories where named ones go, of every user whose can be read, and
    each file in the kernel's lock table that holds a leaderlock record. A file without a path of its
    own (an anonymous lock, a deleted file) comes as ``/proc/PID/fd/N``, one in another mount namespace
    as ``/proc/PID/root/...``: `status_of` takes these, too, as long as that process lives.
    """
    return find_locks().paths


def find_locks(known_to_be_locks: set[Place] | None = None, view: View | None = None) -> Found:
    """The same, with what is hidden.

    Args:
        known_to_be_locks: the places of files whose record is not read again, and to which others are
            added: who watches a file would be woken by that.
        view: what has been read of the machine already.
    """
    view = view or View()
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
    return Found(paths + held, _hidden(closed, unseen))


def lock_directories() -> list[str]:
    """Where locks lie that have a name, of every user: those that are missing included.

    And where version 0.1.0 had them, in XDG_RUNTIME_DIR and TMPDIR.
    """
    environment = [
        os.environ.get("LEADERLOCK_DIR"),
        *os.environ.get("RUNTIME_DIRECTORY", "").split(":"),
    ]
    directories = [os.path.abspath(path) for path in environment if path]
    directories += [os.path.join(path, "leaderlock") for path in directories[:]]
    if xdg := os.environ.get("XDG_RUNTIME_DIR"):
        directories.append(os.path.join(xdg, "leaderlock"))
    directories += ["/run/leaderlock", *sorted(glob.glob("/run/user/*/leaderlock"))]
    shared = ["/run/lock", "/var/tmp", "/tmp", "/dev/shm", os.environ.get("TMPDIR") or "/tmp"]
    for place in dict.fromkeys(shared):
        directories += sorted(glob.glob(os.path.join(glob.escape(place), "leaderlock-*")))
    return list(dict.fromkeys(directories))


def _place(path: str, view: View) -> Place | None:
    """None if it is no lock file, or has gone."""
    try:
        with open_lock(path, view.mounts) as opened:
            return opened.place
    except LeaderLockError:
        return None


def _paths_of_held(view: View, known: set[Place], locks: set[Place]) -> tuple[list[str], set[Place]]:
    """The paths of the files with our record that are locked, and the places that cannot be seen."""
    held = {place: pid for place, pid in view.holders().items() if place not in known}
    seen_of = {pid: descriptors_with_flocks(pid) for pid in set(held.values())}
    descriptors = {place: path for seen in seen_of.values() for place, path in (seen or {}).items()}
    gone = {pid for pid in seen_of if not is_there(pid)}
    if any(pid in gone and place not in descriptors for place, pid in held.items()):
        # Its taker has gone, and somebody has inherited it: that may be anybody.
        for pid in processes():
            descriptors = {**(descriptors_with_flocks(pid) or {}), **descriptors}
    # Where we may look and it is not, it was released meanwhile.
    closed = {pid for pid, seen in seen_of.items() if seen is None and os.geteuid() != 0}
    seen = {place for place in held if place in descriptors}
    locks |= {place for place in seen - locks if _has_record(descriptors[place])}
    unseen = {place for place, pid in held.items() if place not in seen and pid in closed}
    return sorted(path_of(descriptors[place]) for place in seen & locks), unseen


def _has_record(descriptor: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(descriptor).st_mode):  # to open a device may act on it
            return False
        fd = os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # it has gone; it is not ours to read; a lease (fcntl(2)) is on it
        return False
    try:
        content = os.pread(fd, record.SIZE, 0)
        return record.decode(content) is not None or record.oddity(content) is not None
    except OSError:  # EIO, and ESTALE of a network file system
        return False
    finally:
        os.close(fd)


def path_of(descriptor: str) -> str:
    """A path that leads to the same file: its own, or that in the other mount namespace."""
    link = link_of(descriptor) or ""
    root = descriptor.split("/fd/", maxsplit=1)[0] + "/root"
    with contextlib.suppress(OSError):  # its process is gone or hidden, or a server does not answer
        there = os.stat(descriptor)
        for path in (link, root + link):
            with contextlib.suppress(OSError):
                status = os.stat(path, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and os.path.samestat(status, there):
                    return path
    return descriptor


def _hidden(closed: list[str], unseen: set[Place]) -> str | None:
    found = []
    if closed:
        found.append(f"the locks in {', '.join(closed)}")
    if unseen:
        count = f"{len(unseen)} locked file{'s' if len(unseen) > 1 else ''}"
        found.append(f"{count} of other users, which may or may not be locks of leaderlock")
    if not found:
        return None
    return f"{' and '.join(found)}: user {user_name(os.geteuid())} may not look there; ask as root"
