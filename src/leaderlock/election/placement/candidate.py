"""`PlacedCandidate`: made in a process that does not serve, it begins in the processes that serve."""

from __future__ import annotations

import os

from leaderlock.election.candidate import Candidate
from leaderlock.election.runners.choice import runner_for
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from leaderlock.election.election import Election
    from leaderlock.election.leadership import Leadership


class PlacedCandidate(Candidate):
    """A candidate whose object is made before a fork, and which stands in each process that serves.

    Each worker has its own copy of the object that the application keeps, and the copy answers for the
    worker. In the process that made the object, the candidate is a standby that never leads.
    """

    def __init__(self, election: Election, task: Callable[[Leadership], Any]) -> None:
        super().__init__(election.settings, task)
        self._election = election
        self._maker = self._pid
        self._has_begun = False

    def adopt(self) -> None:
        """Make the candidate this process's own: the first call in a process that is to stand."""
        if self._pid != os.getpid():
            maker, stopped = self._maker, self._stop_requested
            Candidate.__init__(self, self._settings, self._task)
            self._maker, self._stop_requested, self._has_begun = maker, stopped, False
            if stopped:
                self._give_up()

    def begin(self) -> None:
        """Stand in this process, unless the candidate stands already or was stopped."""
        self.adopt()
        if self._has_begun or self._stop_requested:
            return
        self._has_begun = True
        self._runner = runner_for(self._task, self._settings.thread)
        try:
            self._election.start_unchecked(self._task, candidate=self)
        except RuntimeError as error:  # the system has no thread left
            self._give_up()
            log_no_thread(error)

    def is_to_begin_here(self) -> bool:
        """Whether this process was forked to serve, and the candidate has not begun in it."""
        mine = self._pid == os.getpid() != self._maker
        return mine and not self._has_begun and not self._stop_requested

    def stands_for(self, election: Election, task: Callable[[Leadership], Any]) -> bool:
        """Whether the candidate has this task, and this election or another one for the same lock."""
        if self._task != task:
            return False
        return self._engine.is_same(election.settings.engine)

    def wait(self, timeout: float | None = None) -> bool:
        """Like `Candidate.wait`; False at once in the maker's process, which never leads."""
        if not self._has_begun and self._pid == self._maker:
            return False
        return super().wait(timeout)

    def stop(self, timeout: float | None = None) -> bool:
        """Like `Candidate.stop`; in the maker's process, processes forked later will not stand."""
        if self._pid == os.getpid() and not self._has_begun:
            self._stop_requested = True
            self._give_up()
            return True
        return super().stop(timeout)

    def _give_up(self) -> None:
        self._ended = True
        self._end("stopped")


def log_no_thread(error: RuntimeError) -> None:
    """Log that this process does not stand, since the system has no thread left."""
    log().error("process %d does not stand for election: %s", os.getpid(), error)
