"""`Watcher`: looks at locks again after each event of the kernel.

The lock table has no event of its own: ``/proc/locks`` is always readable to poll(2). So other events
reveal each change. A candidate opens the lock file before it queues, and closes the file when it
leaves (inotify's IN_OPEN, IN_CLOSE, also when it is killed). A new leader writes its record
(IN_MODIFY). The pidfd of a process becomes readable at its end, after its locks are gone. Replacing
a file causes an event in its directory. The change comes a moment after its event: the file is opened
before flock(2) is called, and closed before the lock is dropped. So a few more looks follow each
event, at growing intervals. No event reports a process that is stopped, frozen or late, or a lock in
an unknown directory: for these there is a look every two seconds.
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
from leaderlock.kernel.descriptors import Descriptor
from leaderlock.status.facts import process_in
from leaderlock.status.gathering.machine import lock_directories, search
from leaderlock.status.gathering.opened import Opened, open_at, open_lock
from leaderlock.status.survey import Survey, survey_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from leaderlock.kernel.proc.open_files import Place
    from leaderlock.status.elections import Elections
    from leaderlock.status.gathering.view import View

_AFTER_AN_EVENT = (0.001, 0.005, 0.02, 0.1, 0.5)
"""Seconds from an event to each of the looks for the change that it announced."""


_WITHOUT_EVENT = 2.0
"""Seconds until the next look, for changes without an event."""


_FILE_EVENTS = inotify.MODIFY | inotify.OPEN | inotify.CLOSE | inotify.ATTRIB | inotify.GONE


class _Watched:
    """A lock file that is kept open, so that looking at the file makes no event."""

    def __init__(self, opened: Opened, number: int) -> None:
        self.opened = opened
        self.number = number

    def is_current(self, path: str) -> bool:
        try:
            now = os.stat(path, follow_symlinks=process_in(path) is not None)
        except OSError:  # the file is gone, or its directory closed to us: `_open` finds out
            return False
        return os.path.samestat(now, self.opened.status())


class Watcher:
    """Looks at locks, and waits until something may have changed.

    Args:
        paths: the lock files; if empty, and without elections, all locks.
        elections: elections in engines, which are looked at as well. `close` leaves them open.
    """

    def __init__(self, paths: Sequence[str], elections: Elections | None = None) -> None:
        self._paths = paths
        self._elections = elections
        self._news = Descriptor()
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
        if elections is not None:
            self._news.open_by(os.eventfd, 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._poll.register(self._news.fd, select.POLLIN)
            elections.tell(self._wake)

    def _wake(self) -> None:
        if self._news.is_open():
            os.eventfd_write(self._news.fd, 1)

    def look(self) -> Survey:
        """Look at the locks now."""
        if self._elections is None:
            return self._look_at_locks()
        survey = self._look_at_locks() if self._paths else Survey()
        survey.add(self._elections.look())
        return survey

    def _look_at_locks(self) -> Survey:
        for path in map(os.path.abspath, self._paths or map("{}/*".format, lock_directories())):
            directory, name = os.path.split(path)
            with contextlib.suppress(OSError):  # missing or unreadable: `_WITHOUT_EVENT` applies
                number = self._inotify.add(directory, inotify.ENTRIES)
                self._names.setdefault(number, set()).add(os.fsencode(name))
        survey = survey_of(self._paths, self._open, lambda view: search(view, self._places))
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
                return open_at(path, view)  # opens a deleted file, or raises the same error
            opened.kept = True
            try:
                number = self._inotify.add(opened.proc_path, _FILE_EVENTS)
            except OSError:  # EACCES: we may not read the file; ENOSPC: too many watches
                number = -1
            watched = self._watched[path] = _Watched(opened, number)
        return watched.opened

    def _forget(self, path: str) -> None:
        watched = self._watched.pop(path)
        self._inotify.remove(watched.number)
        watched.opened.close()

    def _follow(self, survey: Survey) -> None:
        """Get an event at the end of each process, the leaders and the next in line first."""
        wanted: dict[int, None] = {}
        for lock in survey.locks:
            if lock.holder is not None:
                wanted.update(dict.fromkeys([lock.holder.pid, *(p.pid for p in lock.holder.kept_by)]))
        for lock in survey.locks:
            wanted.update(dict.fromkeys(process.pid for process in lock.waiting))
        # A zombie's pidfd is always readable and would wake us again and again.
        self._ended &= set(wanted)
        alive = [pid for pid in wanted if pid not in self._ended]
        followed = set(alive[: self._most_pidfds])  # waiting processes also close the file
        for pid in set(self._pidfds) - followed:
            self._drop(pid)
        for pid in followed - set(self._pidfds):
            try:
                self._pidfds[pid] = fd = os.pidfd_open(pid)
            except OSError:  # ESRCH: ended, or in another namespace; ENOSYS: before Linux 5.3
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
        """Wait for an event, or for the time of the next look."""
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
        if self._news.fd in ready:
            os.eventfd_read(self._news.fd)
        events = self._inotify.drain()
        if ended or any(self._concerns_us(*event) for event in events):
            now = time.monotonic()
            self._looks = deque(now + seconds for seconds in _AFTER_AN_EVENT)

    def _concerns_us(self, number: int, name: bytes) -> bool:
        """Whether an event concerns a lock, and not another file in its directory."""
        names = self._names.get(number)
        return not (names and name) or name in names or (b"*" in names and name.endswith(b".lock"))

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal that ends the watch.

        Python loses a handler's exception if a finalizer is running, so a flag is set as well.
        """
        self._is_told_to_end = True
        raise KeyboardInterrupt

    def close(self) -> None:
        """Close all descriptors."""
        if self._elections is not None:
            self._elections.tell(None)
            self._news.close_if_open()
        for path in list(self._watched):
            self._forget(path)
        for pid in list(self._pidfds):
            self._drop(pid)
        self._inotify.close()
