"""What is compared, each with its defaults for a wait without end, in a thread as in a server's worker.

portalocker's default is to give up after 5 s; it is told to wait on, and polls as it does by default.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.stamps import LONG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock import Leadership

Lead = Callable[[], None]

_kept: list[object] = []
"""A lock that nothing refers to would be released."""


class Contender(NamedTuple):
    """A way to have one leader: `start` returns at once, and calls `lead` when it leads.

    The job goes on after that, as a reporter's or a scheduler's does: the thread that leads sleeps.
    """

    name: str
    start: Callable[[str, Lead], None]
    queues: bool  # in the kernel; else it polls
    library: str = "fcntl"

    def load(self) -> None:
        """Import its library, and so before the fork of workers."""
        importlib.import_module(self.library)
        if self.library.startswith("leaderlock."):
            # What `Election.start` imports, and a server's hook before the fork: ctypes, above all.
            importlib.import_module("leaderlock.election.election")
            importlib.import_module("leaderlock.kernel.handlers")


def start_election(path: str, lead: Lead) -> None:
    """Stand in this process; what was not imported before is imported here."""
    from leaderlock import Election

    def task(leadership: Leadership) -> None:
        lead()
        leadership.wait(LONG)

    _kept.append(Election(path).start(task))


def start_raw(path: str, lead: Lead) -> None:
    def wait() -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        lead()
        time.sleep(LONG)

    threading.Thread(target=wait, daemon=True).start()


def _with(make: Callable[[str], Callable[[], object]]) -> Callable[[str, Lead], None]:
    def start(path: str, lead: Lead) -> None:
        acquire = make(path)
        _kept.append(acquire)

        def wait() -> None:
            acquire()
            lead()
            time.sleep(LONG)

        threading.Thread(target=wait, daemon=True).start()

    return start


def _fasteners(path: str) -> Callable[[], object]:
    import fasteners

    acquire: Callable[[], object] = fasteners.InterProcessLock(path).acquire
    return acquire


def _filelock(path: str) -> Callable[[], object]:
    import filelock

    return filelock.FileLock(path).acquire


def _portalocker(path: str) -> Callable[[], object]:
    import portalocker

    return portalocker.Lock(path, timeout=LONG).acquire


CONTENDERS = [
    Contender("leaderlock", start_election, queues=True, library="leaderlock.engines.file_watch"),
    Contender("raw fcntl.flock", start_raw, queues=True),
    Contender("fasteners", _with(_fasteners), queues=False, library="fasteners"),
    Contender("filelock", _with(_filelock), queues=False, library="filelock"),
    Contender("portalocker", _with(_portalocker), queues=False, library="portalocker"),
]
