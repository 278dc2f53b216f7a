"""Where the exported directory is mounted in each client, and what is tried on it."""

from __future__ import annotations

import re

from tests.nfs.machine import Process
from tests.processes import ChildError

VERSIONS = ("vers=3", "vers=4.0", "vers=4.2")
LOCAL = "vers=3,local_lock=flock"


def directory(place: str, options: str) -> str:
    """Where guest/world.py mounts it."""
    if place == "server":
        return "/srv"
    return f"/tmp/{place}-{options.replace('=', '').replace(',', '-')}"


class Everywhere:
    """One file on the server, which all places see."""

    def __init__(self, test: str) -> None:
        self._name = re.sub(r"\W", "-", test)

    def path(self, place: str, options: str) -> str:
        """Its path there; another file for each version."""
        return f"{directory(place, options)}/{self._name}-{options}"


def opened(process: Process, path: str) -> Process:
    """Open the file in a process, as its `fd`."""
    process.tell(f"path = {path!r}; fd = os.open(path, os.O_RDWR | os.O_CREAT)")
    return process


def locked(process: Process, path: str) -> Process:
    """Have a process hold the file's flock."""
    opened(process, path).tell("fcntl.flock(fd, fcntl.LOCK_EX)")
    return process


def with_lock(process: Process, path: str) -> Process:
    """Make a `LeaderLock` in a process."""
    process.tell(f"lock = LeaderLock({path!r}, on_network_filesystem='allow')")
    return process


TRY = "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
TRY_RECORD = "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"


def error_of(process: Process, source: str) -> str | None:
    """The kind and text of what it raises there, or None."""
    try:
        process.tell(source)
    except ChildError as error:
        return str(error)
    return None


def is_granted(process: Process, source: str = TRY) -> bool:
    """Whether the lock could be had at once."""
    error = error_of(process, source)
    assert error is None or error.startswith("BlockingIOError"), error
    return error is None
