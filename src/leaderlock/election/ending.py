"""The end of a candidate's term: a resignation, or a clean-up after an exception at any instant."""

from __future__ import annotations

import functools

from leaderlock.election.at_exit import candidates
from leaderlock.errors import LeaderLockError, NotHeld
from leaderlock.kernel.threads import start_new_thread
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners.runner import Runner
    from leaderlock.election.settings import ElectionSettings
    from leaderlock.engines.engine import Engine, Tenure
    from leaderlock.kernel.watchers import Watchers

    State = Literal["standby", "leading", "resigned", "stopped"]


class Ending:
    """A candidate's ways to end a term.

    The candidate owns the leadership from before the lock is acquired until `_end_term` has returned.
    After an exception at any instant, either the task runs, or there is no leadership.
    """

    _settings: ElectionSettings
    _engine: Engine
    _tenure: Tenure | None
    _leadership: Leadership | None
    _mutex: Any
    _runner: Runner
    _watchers: Watchers
    _pid: int
    _state: State
    _outcome_known: bool
    _ended: bool
    _exits: bool

    def note_exit(self) -> None:
        """Have the history say that the process exited: the term may end without more code of ours."""
        self._exits = True
        leadership = self._leadership
        if self._ended and leadership is not None:
            leadership._tenure.record_end("exited")

    def _on_lost(self) -> None:
        """Resign if the task has returned, so a standby can lead; a running task was asked to stop."""
        if self._ended:
            self._resign("resigned", "lost")

    def _resign(self, state: State, how: str = "resigned") -> None:
        """Give the leadership up, if the candidate has it, and change to another state.

        Args:
            how: the reason for the term's end, for the history.
        """
        leadership = None
        try:
            with self._mutex:
                leadership, self._leadership = self._leadership, None
                if leadership is None:
                    return
                self._state = state
                if state == "standby":
                    self._outcome_known = False
            self._end_term(leadership, how)
        except BaseException:  # raised by a signal handler
            if leadership is not None:
                try:
                    self._end_term(leadership, how, again=True)
                except BaseException:
                    start_new_thread(self._end_term, (leadership, how), {"again": True})
                    raise
            raise
        if not self._settings.is_rehearsal:
            log().info("process %d resigned from %s", self._pid, self._engine.address)
        if self._settings.on_resigned is not None:
            try:
                self._runner.run(functools.partial(self._settings.on_resigned, leadership))
            except Exception:  # noqa: BLE001  (the resignation stands)
                log().exception("on_resigned failed")

    def _end_term(self, leadership: Leadership, how: str, *, again: bool = False) -> None:
        """End the term and release the lock; `again` after an exception interrupted the first call."""
        leadership._end()
        if self._settings.switch is not None:
            self._settings.switch.disarm()
        try:
            if self._tenure is not None:
                self._tenure.resign("exited" if self._exits and how == "resigned" else how)
        except LeaderLockError as error:
            # NotHeld: `_lose` has logged the loss, or the interrupted call has released the lock.
            if not (isinstance(error, NotHeld) and (leadership.lost or again)):
                log().error("resigned, but: %s", error)

    def _abandon(self) -> None:
        """Release everything, however far the campaign has come: no lock is held without a task."""
        self._resign("stopped")
        if self._tenure is not None:
            self._tenure.finish()
        self._end("stopped")
        self._ended = True
        self._watchers.tell()

    def _end(self, state: State) -> None:
        self._state = state
        self._outcome_known = True
        self._watchers.tell()
        candidates.discard(self)
