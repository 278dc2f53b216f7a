"""All sidecars of a run: started before the command, ended after it."""

from __future__ import annotations

import os

from leaderlock.errors import LeaderLockError
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.sidecar import Sidecar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.reaper import Reaper
    from leaderlock.supervisor.settings import Settings

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 30.0
_STAND_IN = ["cat"]


class Sidecars:
    """All sidecars of a run.

    Args:
        loop, reaper: report elapsed time and ended children.
        settings: the sidecars' commands, and what to do if one ends first.
        stop: called if the command must be stopped because a sidecar has ended.
    """

    def __init__(
        self, loop: Loop, reaper: Reaper, settings: Settings, stop: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._stop = stop
        self._delay = _FIRST_DELAY
        self._ending = False
        self._all = [Sidecar(loop, reaper, words, self._on_exit) for words in settings.sidecars]
        self._logger: Sidecar | None = None
        if settings.log_sidecar is not None:
            self._logger = Sidecar(loop, reaper, settings.log_sidecar, self._on_exit)
            self._all.append(self._logger)
        self._left = len(self._all)

    def require_found(self) -> None:
        """Raise LeaderLockError if a sidecar's program does not exist, before anything starts."""
        for sidecar in self._all:
            program = sidecar.words[0]
            places = [""] if "/" in program else os.get_exec_path()
            if not any(_is_program(os.path.join(place, program)) for place in places):
                raise LeaderLockError(f"sidecar {program} is not found, or is not a program")

    def start(self) -> None:
        """Start all sidecars."""
        for sidecar in self._all:
            sidecar.start()

    def pids(self) -> set[int]:
        """The process IDs of the running sidecars."""
        return {sidecar.pid for sidecar in self._all if sidecar.pid}

    def hang_up(self) -> None:
        """Close our ends of all sidecars' pipes."""
        for sidecar in self._all:
            sidecar.hang_up()

    def stdio(self) -> dict[int, int]:
        """Descriptors for the command's output: the log sidecar's pipe, if a process reads it."""
        if self._logger is None or self._logger.input < 0:
            return {}
        return {1: self._logger.input, 2: self._logger.input}

    def end(self, done: Callable[[], None]) -> None:
        """End all sidecars, and call `done` when all have ended."""
        self._ending = True
        if not self._all:
            done()
            return

        def one_ended() -> None:
            self._left -= 1
            if self._left == 0:
                done()

        for sidecar in self._all:
            if not sidecar.pid and sidecar.has_unread():  # the sidecar was about to restart
                sidecar.start()
            sidecar.end(self._settings.sidecar_grace, one_ended)

    def _on_exit(self, sidecar: Sidecar, status: int) -> None:
        what = self._settings.sidecar_exit
        then = {"stop": "the command is stopped", "restart": "it is started again"}.get(
            what, "so be it"
        )
        say(f"sidecar {sidecar.words[0]} has ended with status {status}: {then}")
        if sidecar is self._logger and what != "restart":
            self._stand_in(sidecar)
        if what == "stop":
            self._stop()
        elif what == "restart":
            self._loop.call_later(self._delay, lambda: self._restart(sidecar))
            self._delay = min(self._delay * 2, _LONGEST_DELAY)
        elif sidecar is not self._logger:
            sidecar.hang_up()

    def _stand_in(self, logger: Sidecar) -> None:
        """Start cat(1) in the log sidecar's place: it copies the command's output to our own.

        Without a reader, the command would block as soon as the pipe is full, perhaps for its whole
        stop. If the pipe were closed, SIGPIPE would kill the command.
        """
        if logger.words is _STAND_IN:  # cat has ended too: our output is closed
            logger.hang_up()
        else:
            logger.words = _STAND_IN
            logger.start()

    def _restart(self, sidecar: Sidecar) -> None:
        if not self._ending:
            sidecar.start()


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
