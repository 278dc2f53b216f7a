"""Noticing, in the event loop, that the lock's file was deleted or replaced under a running command."""

from __future__ import annotations

from leaderlock.errors import LeaderLockError, LockFileReplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.inotify import FileWatch
    from leaderlock.lock import LeaderLock
    from leaderlock.supervisor.loop import Loop


class LookOut:
    """Calls something when a held lock's file is deleted or replaced, where the kernel tells."""

    def __init__(self, loop: Loop, lock: LeaderLock, lost: Callable[[LockFileReplaced], None]) -> None:
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
        self._look()

    def _on_change(self) -> None:
        if self._watch is not None and self._watch.has_news():
            self._look()

    def _look(self) -> None:
        try:
            self._lock.check()
            self._lock._gate.mend()  # others may have overwritten the record
        except LockFileReplaced as error:
            self.end()
            self._lost(error)
        except LeaderLockError:  # the path cannot be looked at: nothing is known, and nothing done
            return

    def end(self) -> None:
        """Look no more."""
        if self._watch is not None:
            self._loop.forget(self._watch.fileno())
            self._watch.close()
            self._watch = None
