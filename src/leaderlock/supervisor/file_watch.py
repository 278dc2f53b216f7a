"""Notices in the event loop that the lock file was replaced, or that this process should resign."""

from __future__ import annotations

from leaderlock.errors import LeaderLockError, LockFileReplaced
from leaderlock.lock import resigning
from leaderlock.lock.turn import mend_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.inotify import FileWatch
    from leaderlock.lock.leader_lock import LeaderLock
    from leaderlock.supervisor.loop import Loop


class LockWatch:
    """Calls `lost` when a held lock's file is deleted or replaced, or this process is asked to resign.

    Works only where inotify is available. `lost` is called once, with a message, how the term ends, and
    the seconds until this process may stand again.
    """

    def __init__(self, loop: Loop, lock: LeaderLock, lost: Callable[[str, str, float], None]) -> None:
        self._loop = loop
        self._lock = lock
        self._lost = lost
        self._watch: FileWatch | None = None
        try:
            from leaderlock.kernel.inotify import FileWatch  # noqa: PLC0415  (ctypes)

            self._watch = FileWatch(lock.fileno())
        except (ImportError, OSError):  # not Linux, or no instance of inotify left
            return
        loop.on_readable(self._watch.fileno(), self._on_change)
        resigning.answer(lock, resigning.HEEDS)
        self._look()

    def _on_change(self) -> None:
        if self._watch is not None and self._watch.has_news():
            self._look()

    def _look(self) -> None:
        try:
            self._lock.check()
            mend_record(self._lock)  # other processes may have overwritten the record
        except LockFileReplaced as error:
            self.end()
            text = f"{error}; the command is stopped, and started again under the new file's lock"
            self._lost(text, "lost", 0)
        except LeaderLockError:  # the path cannot be examined: assume no change
            return
        if self._watch is not None and resigning.is_asked(self._lock):
            self.end()
            text = (
                f"asked to resign from {self._lock.path}: the command is stopped; it is started again "
                f"when this process leads again"
            )
            self._lost(text, resigning.ON_REQUEST, resigning.PAUSE)

    def end(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._loop.forget(self._watch.fileno())
            self._watch.close()
            self._watch = None
