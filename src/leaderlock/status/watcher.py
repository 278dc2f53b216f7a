"""`Watcher`: looks at locks again and again, woken by the kernel's events.

The lock table itself has no event: ``/proc/locks`` is always readable to poll(2). So each change is
learned from what goes with it. A candidate opens the lock file before it queues, and closes it when
it leaves (inotify's IN_OPEN, IN_CLOSE, also when it is killed); a new leader writes its record
(IN_MODIFY); a process that ends makes its pidfd readable, which comes after its locks are gone; a file
that is replaced shows in its directory. What an event announces comes a moment after it (the file is
opened before flock(2) is called, and closed before the lock is dropped), so a few more looks follow
each one, at growing distances. A process that is stopped, frozen or late, and a lock in a directory
that is not known, make no event at all for others: for these there is a look every other second.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import time
from collections import deque

from leaderlock.errors import LeaderLockError
from leaderlock.kernel import inotify
from leaderlock.status.lock import open_at
from leaderlock.status.machine import find_locks, lock_directories
from leaderlock.status.opened import Opened, open_lock, process_in
from leaderlock.status.survey import Survey, survey_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from leaderlock.kernel.proc.open_files import Place
    from leaderlock.status.view import View

_AFTER_AN_EVENT = (0.001, 0.005, 0.02, 0.1, 0.5)
"""Seconds from an event to each of the looks for what it announced."""


_WITHOUT_EVENT = 2.0
"""Seconds until the next look, for what makes no event."""


_FILE_EVENTS = inotify.MODIFY | inotify.OPEN | inotify.CLOSE | inotify.ATTRIB | inotify.GONE


class _Watched:
    """A lock file that is kept open, so that to look at it makes no event of its own."""

    def __init__(self, opened: Opened, number: int) -> None:
        self.opened = opened
        self.number = number

    def is_current(self, path: str) -> bool:
        try:
            now = os.stat(path, follow_symlinks=process_in(path) is not None)
        except OSError:  # it has gone, or its directory was closed to us: opening it anew tells
            return False
        return os.path.samestat(now, self.opened.status())


class Watcher:
    """Looks at locks, and waits until there may be something new to see."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._inotify = inotify.Inotify()
        self._watched: dict[str, _Watched] = {}
        self._pidfds: dict[int, int] = {}
        self._ended: set[int] = set()
        self._poll = select.poll()
        self._poll.register(self._inotify, select.POLLIN)
        self._looks: deque[float] = deque()
        self._most_pidfds = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self._places: set[Place] = set()
        self._is_told_to_end = False
        self._names: dict[int, set[bytes]] = {}

    def look(self) -> Survey:
        """What there is to see now."""
        for path in map(os.path.abspath, self._paths or map("{}/*".format, lock_directories())):
            directory, name = os.path.split(path)
            with contextlib.suppress(OSError):  # missing, or closed to us: see `_WITHOUT_EVENT`
                number = self._inotify.add(directory, inotify.ENTRIES)
                self._names.setdefault(number, set()).add(os.fsencode(name))
        survey = survey_of(self._paths, self._open, lambda view: find_locks(self._places, view))
        self._follow(survey)
        return survey

    def _open(self, path: str, view: View) -> Opened:
        watched = self._watched.get(path)
        if watched is not None and not watched.is_current(path):
            self._forget(path)
            watched = None
        if watched is None:
            try:
                opened = open_lock(path, view.mounts)
            except LeaderLockError:
                return open_at(path, view)  # a file that was deleted, or raises the same
            opened.kept = True
            try:
                number = self._inotify.add(opened.proc_path, _FILE_EVENTS)
            except OSError:  # EACCES: not ours to read; ENOSPC: too many watches
                number = -1
            watched = self._watched[path] = _Watched(opened, number)
        return watched.opened

    def _forget(self, path: str) -> None:
        watched = self._watched.pop(path)
        self._inotify.remove(watched.number)
        watched.opened.close()

    def _follow(self, survey: Survey) -> None:
        """Have the end of each process reported, the leaders' and the next ones' first."""
        wanted: dict[int, None] = {}
        for lock in survey.locks:
            if lock.holder is not None:
                wanted.update(dict.fromkeys([lock.holder.pid, *(p.pid for p in lock.holder.kept_by)]))
        for lock in survey.locks:
            wanted.update(dict.fromkeys(process.pid for process in lock.waiting))
        # A process that has ended and was not waited for would be reported again and again.
        self._ended &= set(wanted)
        alive = [pid for pid in wanted if pid not in self._ended]
        followed = set(alive[: self._most_pidfds])  # those who wait also close the file
        for pid in set(self._pidfds) - followed:
            self._drop(pid)
        for pid in followed - set(self._pidfds):
            try:
                self._pidfds[pid] = fd = os.pidfd_open(pid)
            except OSError:  # ESRCH: it has ended, or lives elsewhere; ENOSYS: before Linux 5.3
                continue
            self._poll.register(fd, select.POLLIN)
        for path in set(self._watched) - {lock.path for lock in survey.locks} - set(self._paths):
            if not self._watched[path].is_current(path):
                self._forget(path)

    def _drop(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        self._poll.unregister(fd)
        os.close(fd)

    def wait(self) -> None:
        """Wait for an event, or for the time of the next look after one."""
        if self._is_told_to_end:
            raise KeyboardInterrupt
        now = time.monotonic()
        while self._looks and self._looks[0] <= now:
            self._looks.popleft()
        until = self._looks[0] if self._looks else now + _WITHOUT_EVENT
        ready = {fd for fd, _ in self._poll.poll(max(until - now, 0) * 1000)}
        ended = [pid for pid, fd in self._pidfds.items() if fd in ready]
        for pid in ended:
            self._drop(pid)
        self._ended.update(ended)
        events = self._inotify.drain()
        if ended or any(self._concerns_us(*event) for event in events):
            now = time.monotonic()
            self._looks = deque(now + seconds for seconds in _AFTER_AN_EVENT)

    def _concerns_us(self, number: int, name: bytes) -> bool:
        """Whether an event is about a lock, and not about another file in its directory."""
        names = self._names.get(number)
        return not (names and name) or name in names or (b"*" in names and name.endswith(b".lock"))

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal that is to end it.

        What a handler raises is lost where Python runs a finalizer just then, so it is noted too.
        """
        self._is_told_to_end = True
        raise KeyboardInterrupt

    def close(self) -> None:
        """Let go of everything."""
        for path in list(self._watched):
            self._forget(path)
        for pid in list(self._pidfds):
            self._drop(pid)
        self._inotify.close()
