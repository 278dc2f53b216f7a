"""`SupervisedCommand`: the supervised program, from its start until all its processes have ended."""

from __future__ import annotations

import os
import time

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.environment import binding, environment
from leaderlock.supervisor.main_process import MainProcess
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.schedule import ABORT, LAST, Schedule, Stopper
from leaderlock.supervisor.signals import SUSPENDING, send, signal_name
from leaderlock.supervisor.spawn import give_terminal, has_terminal, spawn, take_terminal_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.engines.engine import Tenure
    from leaderlock.supervisor.leftovers import Leftovers
    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.reaper import Reaper
    from leaderlock.supervisor.service import Service
    from leaderlock.supervisor.settings import Settings

FAILED = 125
"""The exit status when leaderlock itself fails, as in timeout(1)."""


class SupervisedCommand:
    """One command. It can be started again after it has ended.

    Args:
        loop, reaper: report elapsed time and ended children.
        settings: the program to run, and how to stop it.
        sidecars: returns the process IDs of the sidecars, which do not belong to the command.
        done: called with the exit status when the command and all its leftovers have ended.

    Attributes:
        is_running: whether a process of the command may exist: true from just before the fork until
            the kernel has reported its end and shown that no process is left. The lock is not released
            while this is true.
        ran: how many seconds the last run took.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        settings: Settings,
        sidecars: Callable[[], set[int]],
        done: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._reaper = reaper
        self._settings = settings
        self._sidecars = sidecars
        self._done = done
        self._is_reaper = os.getpid() == 1 or settings.subreaper
        self._main = MainProcess(loop, reaper, self._on_main_end, self._on_stop)
        self._service: Service | None = None
        self._is_stopped = False
        self._stopper: Stopper | None = None
        self._leftovers: Leftovers | None = None
        self._failed = False
        self._status = 0
        self._began = 0.0
        self.ran = 0.0
        self.is_running = False
        self._stopped_by_us = False

    @property
    def main_pid(self) -> int:
        """The process whose end is the command's end; 0 if there is none."""
        return self._main.pid

    @property
    def ended_as_told(self) -> bool:
        """Whether the command died of a signal that its stop schedule sent."""
        schedule = self._settings.schedule
        stages = schedule.stages if self._stopped_by_us and schedule is not None else ()
        return self._status - 128 in {stage.signal for stage in stages} - {signal.SIGKILL}

    def serve(self, service: Service) -> None:
        """Connect the command to the service that receives its notifications."""
        self._service = service

    def start(self, tenure: Tenure | None, stdio: Mapping[int, int]) -> None:
        """Start the command; with a tenure, its environment contains the term."""
        variables = environment(self._settings.engine, tenure)
        if self._service is not None:
            for inherited in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
                variables.pop(inherited, None)  # these variables are addressed to us
            variables.update(self._service.environment())
        in_child = binding() if tenure is not None else None
        self._stopper = self._leftovers = None
        self._failed = self._stopped_by_us = self._is_stopped = False
        self._began = time.monotonic()
        self.is_running = True
        try:
            spawn(
                self._settings.command,
                variables,
                self._main.begin,
                stdio=stdio,
                own_group=not self._settings.shares_group,
                in_child=in_child,
            )
        except OSError as error:  # EAGAIN, ENOMEM: no process could be started
            say(f"cannot start a process: {error.strerror}")
            self._status = FAILED
            self._loop.call_later(0, self._be_done)
            return
        if self._service is not None:
            self._service.command_started()

    def forward(self, number: int) -> None:
        """Send the command a signal."""
        if self._main.pid:
            say(f"forwarding {signal_name(number)} to {self._main.pid}", 2)
            whole_group = self._settings.whole_group
            if number == signal.SIGCONT and self._is_stopped:
                self._is_stopped = False
                whole_group = True  # Ctrl-Z stopped the whole group
                if not self._settings.shares_group:
                    give_terminal(self._main.first)
            self._send_to(number, whole_group)

    def _send_to(self, number: int, whole_group: bool) -> None:
        if not whole_group:
            send(self._main.pid, number)
        elif self._main.pid == self._main.first and not self._settings.shares_group:
            send(self._main.pid, number, group=True)
        else:  # once the first process has ended, another group may get its ID
            for pid in {self._main.pid, *self._left_behind()}:
                send(pid, number)

    def stop(self) -> None:
        """Stop the command by the schedule; a stop that is already under way continues unchanged."""
        if self._leftovers is not None:
            self._leftovers.stop()
        if self._stopper is not None or not self._main.pid:
            return
        self._stopped_by_us = True
        if self._settings.schedule is None:
            self.forward(signal.SIGTERM)
        else:
            self._stop_by(self._settings.schedule)

    def _stop_by(self, schedule: Schedule) -> None:
        if self._service is not None:
            self._service.command_stopping()
        if self._stopper is not None:
            self._stopper.cancel()
        self._stopper = Stopper(self._loop, schedule, self._send, self._give_up)
        self._stopper.step()

    def _send(self, number: int) -> None:
        kill = number == signal.SIGKILL
        say(f"sending {signal_name(number)} to {self._main.pid}", 0 if kill else 1)
        self._send_to(number, kill or self._settings.whole_group)
        if self._is_stopped and number not in SUSPENDING:
            self.forward(signal.SIGCONT)  # a stopped process does not act on the signal

    def extend_stop(self, seconds: float) -> None:
        """Lengthen the current stage of a stop that is under way."""
        if self._stopper is not None and not self._failed:
            self._stopper.extend(seconds)

    def fail(self, _reason: str) -> None:
        """The command hangs: send SIGABRT first, so that it can leave a trace, then kill it."""
        self._failed = True
        self._stop_by(Schedule(ABORT))

    def belongs(self, pid: int) -> bool:
        """Whether a process belongs to the command."""
        from leaderlock.supervisor.family import belongs  # noqa: PLC0415  (imported before)

        first = self._main.first
        return self.is_running and belongs(pid, first, self._sidecars(), reaper=self._is_reaper)

    def set_main_process(self, pid: int) -> None:
        """Make another process of the command its main process, whose end is the command's end."""
        if pid not in (self._main.pid, os.getpid()) and self.belongs(pid):
            self._main.change(pid)
            if self._main.pid == pid and self._stopper is not None:  # the old one got the signal
                self._send(self._stopper.last_signal)

    def _on_main_end(self, status: int) -> None:
        take_terminal_back(self._main.first)
        if self._is_followed_by_another(status):
            return
        self._status = FAILED if self._failed and status == 0 else status
        self.ran = time.monotonic() - self._began
        say(f"the command has ended with status {status}", 1)
        if self._stopper is not None:
            self._stopper.cancel()
        if self._service is not None:
            self._service.command_ended()
        from leaderlock.supervisor.family import may_have_left_any  # noqa: PLC0415  (imported before)

        schedule = self._settings.schedule
        if schedule is None or not may_have_left_any(self._main.first, reaper=self._is_reaper):
            self._be_done()
            return
        from leaderlock.supervisor.leftovers import Leftovers  # noqa: PLC0415  (imported before)

        self._leftovers = Leftovers(
            self._loop,
            self._reaper,
            self._left_behind,
            schedule,
            by_pidfd=not self._settings.hears_of_all_ends,
            found=self._name_leftovers,
            done=self._be_done,
            given_up=self._give_up_leftovers,
        )
        self._leftovers.stop()

    def _name_leftovers(self, names: str) -> None:
        if self._settings.engine is not None:
            say(
                f"the command left {names} behind: leaderlock stops it before it releases the lock. "
                "Run it in the foreground, or use --follow, which treats it as the command",
                1 if self._stopped_by_us else 0,
            )

    def _is_followed_by_another(self, status: int) -> bool:
        """Whether it was a daemon's parent; with --follow, the daemon is the command from now on."""
        if not self._settings.follow or status != 0 or self._stopped_by_us or self._failed:
            return False
        from leaderlock.supervisor.family import children_left  # noqa: PLC0415  (imported before)

        left = children_left(self._sidecars())
        if left:
            say(f"the command is process {left[0]} from now on", 1)
            self._main.follow(left[0])
        return bool(left)

    def _left_behind(self) -> set[int]:
        from leaderlock.supervisor.family import left_behind  # noqa: PLC0415  (imported before)

        return left_behind(self._main.first, self._sidecars(), reaper=self._is_reaper)

    def _give_up(self) -> None:
        assert self._stopper is not None
        last = self._stopper.last_signal
        if self._settings.engine is not None:
            # The next leader must not begin while this command still does the work.
            if last != signal.SIGKILL:
                self._stop_by(Schedule(LAST))
                return
            self._stopper = None
            say(
                f"process {self._main.pid} still runs after the stop schedule: leaderlock keeps the "
                "lock and waits for its end; send SIGTERM to begin the schedule again"
            )
            return
        say("the command still runs after the stop schedule: leaderlock no longer waits for it")
        self._status = 128 + last
        self._be_done()

    def _give_up_leftovers(self, last: int) -> bool:
        if self._settings.engine is None:
            return True
        from leaderlock.supervisor.leftovers import name_of  # noqa: PLC0415  (imported before)

        left = self._left_behind()
        if names := name_of(left):
            say(
                f"{names} still runs after the stop schedule: leaderlock keeps the lock and waits for "
                "its end; send SIGTERM to begin the schedule again"
            )
        return not left

    def _be_done(self) -> None:
        self._leftovers = None
        self._main.forget()
        self.is_running = False
        self._done(self._status)

    def _on_stop(self, number: int) -> None:
        """The command was stopped (Ctrl-Z): stop too, let the shell take over, then continue both."""
        self._is_stopped = True
        if self._stopper is not None:
            if self._stopper.last_signal not in SUSPENDING:
                self.forward(signal.SIGCONT)  # a stop is under way: the command must end
            return
        # Nobody could continue us if we lead our session, as PID 1 does, or have no terminal. And
        # SIGSTOP makes the command hang: the watchdog must keep running to notice that.
        hangs = self._service is not None and number == signal.SIGSTOP
        if hangs or not self._settings.can_be_continued or not has_terminal():
            return
        take_terminal_back(self._main.first)
        os.kill(os.getpid(), signal.SIGSTOP)
        # The SIGCONT that continues us is forwarded once: a second one could undo the next Ctrl-Z.
        if self._service is not None:
            self._service.command_continued()
