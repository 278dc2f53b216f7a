"""What the kernel shows of locks and processes, read once for all locks that are looked at together."""

from __future__ import annotations

import os
from functools import cached_property

from leaderlock.errors import Unsupported
from leaderlock.kernel.proc.containers import Freezers
from leaderlock.kernel.proc.mounts import mounts_by_id
from leaderlock.kernel.proc.open_files import (
    descriptors_with_flocks,
    flocks_by,
    links_of,
    processes,
)
from leaderlock.kernel.proc.processes import identity_of, is_stuck, start_of
from leaderlock.kernel.proc.queues import AllFlocks
from leaderlock.status.people import process
from leaderlock.status.rivals import DELETED, Rival, deleted_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.proc.mounts import Mount
    from leaderlock.kernel.proc.open_files import Place
    from leaderlock.kernel.proc.table import FlockEntry
    from leaderlock.status.model import ProcessStatus


class View:
    """One look at the machine. Nothing is read before it is asked for, and nothing is read twice.

    A thousand locks would otherwise read the lock table, the mounts and each holder's descriptors a
    thousand times, and each of these grows with the number of locks.
    """

    def __init__(self) -> None:
        self._flocks: AllFlocks | None = None
        self._people: dict[int, ProcessStatus] = {}
        self._started: dict[int, float | None] = {}
        self._stuck: dict[tuple[int, float], bool] = {}
        self._own_pids: dict[int, int | None] = {}

    def look_again(self) -> None:
        """Read the lock table anew when it is asked for next."""
        self._flocks = None
        self._own_pids.clear()

    @property
    def _table(self) -> AllFlocks:
        if self._flocks is None:
            if not os.path.exists("/proc/locks"):  # otherwise every lock would seem to be free
                raise Unsupported("who holds a lock is read from /proc/locks: mount /proc here")
            self._flocks = AllFlocks()
        return self._flocks

    def queue_on(self, place: Place) -> list[FlockEntry]:
        """The entries of the lock table for one file, as `leaderlock.kernel.proc.queues.queue_on`."""
        return self._table.on(*place)

    def holders(self) -> dict[Place, int]:
        """Who holds a flock on which file."""
        return self._table.holders()

    @cached_property
    def mounts(self) -> dict[bytes, Mount]:
        """Every mount by its ID."""
        return mounts_by_id()

    @cached_property
    def freezers(self) -> Freezers:
        """Which control groups are frozen."""
        return Freezers()

    def process(self, pid: int) -> ProcessStatus:
        """What can be seen of a process."""
        if pid not in self._people:
            self._people[pid] = process(pid)
        return self._people[pid]

    def start_of(self, pid: int) -> float | None:
        """When it was started, in seconds since the epoch."""
        if pid not in self._started:
            self._started[pid] = start_of(pid)
        return self._started[pid]

    def pid_in_its_namespace(self, pid: int) -> int | None:
        """The number by which a process knows itself."""
        if pid not in self._own_pids:
            identity = identity_of(pid)
            self._own_pids[pid] = None if identity is None else identity.pids[-1]
        return self._own_pids[pid]

    def is_stuck(self, pid: int, seconds: float) -> bool:
        """Whether the process is in one uninterruptible sleep for so long."""
        if (pid, seconds) not in self._stuck:
            self._stuck[pid, seconds] = is_stuck(pid, seconds)
        return self._stuck[pid, seconds]

    def processes_with_flock(self, place: Place) -> list[int]:
        """Every process that can be seen to have a descriptor that carries the lock."""
        return self._keepers.get(place, [])

    @cached_property
    def _keepers(self) -> dict[Place, list[int]]:
        found: dict[Place, list[int]] = {}
        for pid in processes():
            for place in descriptors_with_flocks(pid) or {}:
                found.setdefault(place, []).append(pid)
        return found

    def deleted_files_at(self, path: str, current: Place | None) -> list[Rival]:
        """Who holds the lock of a file that was deleted from this path, as far as we may see.

        Args:
            path: absolute.
            current: what the path leads to now; None if to nothing.
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
        """By path, the descriptors of all who hold a lock that lead to deleted files."""
        found: dict[str, list[Rival]] = {}
        for pid in sorted(set(self.holders().values())):
            for descriptor, link in links_of(pid):
                if link.endswith(DELETED):
                    found.setdefault(link, []).append(Rival(pid, descriptor))
        return found
