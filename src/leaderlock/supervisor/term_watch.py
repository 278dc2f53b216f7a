"""Notices in the event loop that the election is lost, or that this process should resign."""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError, LeadershipLost, NotHeld
from leaderlock.kernel.threads import allocate_lock
from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.engine import Tenure, Watch
    from leaderlock.supervisor.loop import Loop


class TermWatch:
    """Calls `lost` when a tenure that leads is lost, or is asked to resign.

    Works only where the engine can watch. `lost` is called once, with a message, how the term ends, and
    the seconds until this process may stand again.
    """

    def __init__(
        self, loop: Loop, tenure: Tenure, address: str, lost: Callable[[str, str, float], None]
    ) -> None:
        self._loop = loop
        self._tenure = tenure
        self._address = address
        self._lost = lost
        self._watch: Watch | None = None
        self._watched_fd = self._bell = -1
        self._mutex = allocate_lock()
        tenure.record_start()
        try:
            self._watch = tenure.watch(self._ring)
            self._watch.open()
        except (ImportError, OSError, NotHeld):  # not Linux, or no instance of inotify left
            self._watch = None
            return
        self._bell = os.eventfd(0)
        loop.on_readable(self._bell, self._on_bell)
        self._watched_fd = self._watch.fileno()
        if self._watched_fd >= 0:
            loop.on_readable(self._watched_fd, self._watch.read)
        tenure.request.accept()
        self._look()

    def _ring(self) -> None:
        """Have the loop look, in whichever thread the watch reports a change."""
        with self._mutex:  # `end` may close the descriptor in another thread
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _on_bell(self) -> None:
        os.eventfd_read(self._bell)
        self._look()

    def _look(self) -> None:
        try:
            self._tenure.look()
        except LeadershipLost as error:
            self.end()
            text = f"{error}; the command is stopped, and started again when this process leads again"
            self._lost(text, "lost", 0)
        except LeaderLockError:  # the engine cannot tell at the moment: assume no change
            return
        request = self._tenure.request
        if self._watch is not None and request.asked:
            self.end()
            text = (
                f"asked to resign from {self._address}: the command is stopped; it is started again "
                f"when this process leads again"
            )
            self._lost(text, request.how, request.pause)

    def has_lost(self) -> bool:
        """After the end: whether the tenure leads no more; False if the engine cannot tell."""
        try:
            self._tenure.check()
        except LeadershipLost as error:
            say(str(error))
            return True
        except LeaderLockError:
            return False
        return False

    def end(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            watch, self._watch = self._watch, None
            if self._watched_fd >= 0:
                self._loop.forget(self._watched_fd)
            watch.end()
            self._loop.forget(self._bell)
            with self._mutex:
                os.close(self._bell)
                self._bell = -1
