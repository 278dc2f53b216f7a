"""`Vigil`: keeps the lock after an unexpected exception in the supervisor, until the command ends.

It does not trust the supervisor's memory. The kernel reports which children exist. Signals are taken
one by one with sigtimedwait(2); all are blocked, so that no handler runs any more.
"""

from __future__ import annotations

import os
import time

from leaderlock.kernel.limits import explained
from leaderlock.kernel.signals import signal
from leaderlock.supervisor.family import children_left, left_behind
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.schedule import Schedule
from leaderlock.supervisor.signals import FORWARDED, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.command import SupervisedCommand
    from leaderlock.supervisor.schedule import Stage
    from leaderlock.supervisor.settings import Settings
    from leaderlock.supervisor.sidecars import Sidecars

_FOREVER = 1e6
"""Seconds, since sigtimedwait(2) takes a time_t; costs one more wakeup every eleven days."""


class Vigil:
    """Waits for the end of the command, forwards signals to it, and stops it by its schedule.

    Args:
        main: returns the command's main process, 0 if that has ended or is not known.
        sidecars: the sidecars of the run; the vigil does not wait for them.
        schedule: how the command is stopped; None only forwards signals.
        reaper: whether all our descendants become our children when orphaned.
        for_ever: whether to keep waiting for processes that outlive the schedule.
    """

    def __init__(
        self,
        main: Callable[[], int],
        sidecars: Sidecars,
        schedule: Schedule | None,
        *,
        reaper: bool,
        for_ever: bool,
    ) -> None:
        self._main = main
        self._sidecars = sidecars
        self._schedule = schedule
        self._reaper = reaper
        self._for_ever = for_ever
        self._stages: list[Stage] = []
        self._due: float | None = None
        self._is_stopping = False
        self._main_has_ended = False

    def keep(self, pending: list[int], *, stopping: bool) -> None:
        """Return when no process of the command is left, even if anything here fails.

        Args:
            pending: signals that have arrived and were not handled.
            stopping: whether the command must end.
        """
        try:
            for number in pending:
                self._on_signal(number)
            if stopping:
                self._begin_to_stop()
            while self._step():
                pass
        except Exception:  # noqa: BLE001  (not even these steps work here: only wait)
            self._sidecars.hang_up()
            wait_for_every_child()

    def end_sidecars(self, grace: float) -> None:
        """Let the sidecars end by themselves; after `grace` seconds send TERM, then KILL."""
        self._sidecars.hang_up()
        self._stages = Schedule(f"TERM/{grace:f}/KILL/1").stages
        self._due = time.monotonic() + grace
        while self._take_in() and (pids := self._sidecars.pids() & set(children_left(set()))):
            if self._due is None:
                return
            self._call_due_stages(0, pids)
            self._wait_for_signal()

    def _step(self) -> bool:
        """Do one round; return whether to go on waiting."""
        left = self._left() if self._take_in() else set()
        main = self._main()
        if main not in left and not self._main_has_ended:
            self._main_has_ended = True
            self._is_stopping = False  # the schedule begins again, for the leftovers
            self._begin_to_stop()
        over = self._is_stopping and self._due is None and not self._stages
        if not left or (main not in left and self._schedule is None) or (over and not self._for_ever):
            return False
        self._call_due_stages(main, left)
        number = self._wait_for_signal()
        if number:
            self._on_signal(number)
        return True

    def _left(self) -> set[int]:
        sidecars = self._sidecars.pids()
        if self._reaper:
            return left_behind(-1, sidecars, reaper=True)
        return set(children_left(sidecars))

    def _begin_to_stop(self) -> None:
        if not self._is_stopping and self._schedule is not None:
            self._is_stopping = True
            self._stages = list(self._schedule.stages)
            self._due = time.monotonic()

    def _call_due_stages(self, main: int, left: set[int]) -> None:
        while self._due is not None and self._due <= time.monotonic():
            if not self._stages:
                self._due = None
                return
            stage = self._stages.pop(0)
            alone = main in left and stage.signal != signal.SIGKILL
            for pid in {main} if alone else left:
                send(pid, stage.signal)
                send(pid, signal.SIGCONT)
            self._due = None if stage.seconds is None else time.monotonic() + stage.seconds

    def _wait_for_signal(self) -> int:
        seconds = _FOREVER if self._due is None else max(self._due - time.monotonic(), 0)
        found = signal.sigtimedwait(signal.valid_signals(), min(seconds, _FOREVER))
        return 0 if found is None else found.si_signo

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGTERM and self._schedule is not None:
            self._begin_to_stop()
        elif number in FORWARDED and self._main():
            send(self._main(), number)

    @staticmethod
    def _take_in() -> bool:
        """Reap all children that have ended; return False if no child is left."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return False
        return True


def wait_for_every_child() -> None:
    """Return when we have no child left."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
        except OSError:  # waitpid(2) is forbidden: try again at the next end of a child
            signal.sigwait({signal.SIGCHLD})


def explain(error: BaseException, *, runs: bool, locked: bool) -> None:
    """Log what happened, and what follows, in one line.

    Args:
        error: the exception.
        runs: whether the command runs.
        locked: whether the command runs under a lock.
    """
    text = explained(error)
    if not text:
        text = f"a bug in leaderlock, or a failure of the system: {type(error).__name__}: {error}"
    if runs:
        text += "; the command goes on, and leaderlock waits for its end"
        text += ", with the lock held, and then exits with 125" if locked else ""
    say(text.replace("\n", " "))


def keep_vigil(
    command: SupervisedCommand,
    sidecars: Sidecars,
    settings: Settings,
    pending: list[int],
    *,
    stopping: bool,
    let_go: Callable[[], None],
) -> None:
    """Wait for the command's end, release the lock, and end the sidecars."""
    vigil = Vigil(
        lambda: command.main_pid,
        sidecars,
        settings.schedule,
        reaper=os.getpid() == 1 or settings.subreaper,
        for_ever=settings.engine is not None,
    )
    if command.is_running:
        vigil.keep(pending, stopping=stopping)
        command.is_running = False
    let_go()
    vigil.end_sidecars(settings.sidecar_grace)
