"""The kernel's view of locks and processes, read once for all locks of one look."""

from __future__ import annotations

import os
from functools import cached_property

from leaderlock.errors import Unsupported
from leaderlock.kernel.proc.containers import Freezers
from leaderlock.kernel.proc.keepers import keeper_of
from leaderlock.kernel.proc.mounts import mounts_by_id
from leaderlock.kernel.proc.open_files import (
    descriptors_with_flocks,
    flocks_by,
    links_of,
    processes,
)
from leaderlock.kernel.proc.processes import identity_of, is_stuck, start_of
from leaderlock.kernel.proc.queues import AllFlocks, shows_whole_queue
from leaderlock.kernel.proc.surroundings import hidepid, in_pid_namespace
from leaderlock.status.facts import Asker, Rival
from leaderlock.status.gathering.people import process, user_name
from leaderlock.status.gathering.rivals import DELETED, deleted_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.mounts import Mount
    from leaderlock.kernel.proc.open_files import Place
    from leaderlock.kernel.proc.table import FlockEntry
    from leaderlock.status.model import ProcessStatus


class View:
    """One look at the machine. Each table is read on first use, and only once.

    Otherwise a thousand locks would read the lock table, the mounts and each holder's descriptors a
    thousand times, and each of these grows with the number of locks.
    """

    def __init__(self) -> None:
        self._flocks: AllFlocks | None = None
        self._people: dict[int, ProcessStatus] = {}
        self._started: dict[int, float | None] = {}
        self._stuck: dict[tuple[int, float], bool] = {}
        self._own_pids: dict[int, int | None] = {}
        self._keepers: dict[int, int | None] = {}

    def look_again(self) -> None:
        """Read the lock table again on its next use."""
        self._flocks = None
        self._own_pids.clear()

    @property
    def _table(self) -> AllFlocks:
        if self._flocks is None:
            if not os.path.exists("/proc/locks"):  # without this check every lock would seem free
                raise Unsupported("who holds a lock is read from /proc/locks: mount /proc here")
            self._flocks = AllFlocks()
        return self._flocks

    def queue_on(self, place: Place) -> list[FlockEntry]:
        """The lock table's entries for one file; see `leaderlock.kernel.proc.queues.queue_on`."""
        return self._table.on(*place)

    def holders(self) -> dict[Place, int]:
        """The holder of the flock on each file that has one."""
        return self._table.holders()

    @cached_property
    def asker(self) -> Asker:
        """This process."""
        return Asker(
            os.getpid(),
            user_name(os.geteuid()),
            in_pid_namespace(),
            hidepid(),
            shows_whole_queue(),
            os.uname().release,
        )

    @cached_property
    def mounts(self) -> dict[bytes, Mount]:
        """Every mount by its ID."""
        return mounts_by_id()

    @cached_property
    def freezers(self) -> Freezers:
        """The control groups that are frozen."""
        return Freezers()

    def process(self, pid: int) -> ProcessStatus:
        """The visible details of a process."""
        if pid not in self._people:
            self._people[pid] = process(pid)
        return self._people[pid]

    def start_of(self, pid: int) -> float | None:
        """The start time of a process, in seconds since the epoch."""
        if pid not in self._started:
            self._started[pid] = start_of(pid)
        return self._started[pid]

    def pid_in_its_namespace(self, pid: int) -> int | None:
        """The ID of a process in its own PID namespace."""
        if pid not in self._own_pids:
            identity = identity_of(pid)
            self._own_pids[pid] = None if identity is None else identity.pids[-1]
        return self._own_pids[pid]

    def keeper_of(self, pid: int) -> int | None:
        """The living keeper of a process."""
        if pid not in self._keepers:
            self._keepers[pid] = keeper_of(pid)
        return self._keepers[pid]

    def is_stuck(self, pid: int, seconds: float) -> bool:
        """Whether the process has been in one uninterruptible sleep for this many seconds."""
        if (pid, seconds) not in self._stuck:
            self._stuck[pid, seconds] = is_stuck(pid, seconds)
        return self._stuck[pid, seconds]

    def processes_with_flock(self, place: Place) -> list[int]:
        """Every visible process that has a descriptor which carries the lock."""
        return self._carriers.get(place, [])

    @cached_property
    def _carriers(self) -> dict[Place, list[int]]:
        found: dict[Place, list[int]] = {}
        for pid in processes():
            for place in descriptors_with_flocks(pid) or {}:
                found.setdefault(place, []).append(pid)
        return found

    def deleted_files_at(self, path: str, current: Place | None) -> list[Rival]:
        """The visible processes that hold the lock of a file that was deleted from this path.

        Args:
            path: an absolute path.
            current: the file that the path leads to now; None if there is no file.
        """
        if not self._deleted or not (found := self._deleted.get(deleted_path(path))):
            return []
        held = self.holders()
        return [
            rival
            for rival in found
            if any(place in held and place != current for place in flocks_by(rival.descriptor))
        ]

    @cached_property
    def _deleted(self) -> dict[str, list[Rival]]:
        """By path: all descriptors that lead to deleted files and belong to holders of a lock."""
        found: dict[str, list[Rival]] = {}
        for pid in sorted(set(self.holders().values())):
            for descriptor, link in links_of(pid):
                if link.endswith(DELETED):
                    found.setdefault(link, []).append(Rival(pid, descriptor))
        return found
