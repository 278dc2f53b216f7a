"""`Command`: the program that is supervised, from its start until nothing of it is left."""

from __future__ import annotations

import os
import sys
import time

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.schedule import ABORT, LAST, Schedule, Stopper
from leaderlock.supervisor.signals import SUSPENDING, signal_name
from leaderlock.supervisor.spawn import give_terminal, has_terminal, send, spawn, take_terminal_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.lock import LeaderLock
    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.reaper import Reaper
    from leaderlock.supervisor.service import Service
    from leaderlock.supervisor.settings import Settings

FAILED = 125
"""The exit status of a failure of leaderlock's own, as of timeout(1)."""


class Command:
    """One command, which can be started again after it has ended.

    Args:
        loop, reaper: tell of time and ends.
        settings: what to run, and how to stop it.
        sidecars: tells the sidecars' process IDs, which are not the command's.
        done: called with the exit status when the command and all that it left behind are gone.
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
        self._service: Service | None = None
        self._group = 0
        self._main = 0
        self._main_fd = -1
        self._is_stopped = False
        self._stopper: Stopper | None = None
        self._failed = False
        self._first_has_ended = False
        self._status = 0
        self._began = 0.0
        self.ran = 0.0
        self._stopped_by_us = False

    @property
    def is_running(self) -> bool:
        """Whether it, or something of it, is there."""
        return self._group != 0

    @property
    def ended_as_told(self) -> bool:
        """Whether it died of a signal that we have asked it to end by."""
        schedule = self._settings.schedule
        if not self._stopped_by_us or schedule is None:
            return False
        asked = {stage.signal for stage in schedule.stages} - {signal.SIGKILL}
        return self._status - 128 in asked

    def serve(self, service: Service) -> None:
        """Let the command tell a service how it is."""
        self._service = service

    def start(self, lock: LeaderLock | None, stdio: Mapping[int, int]) -> None:
        """Start it, with the term in its environment if there is a lock."""
        variables = environment(lock)
        if self._service is not None:
            for inherited in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
                variables.pop(inherited, None)  # they are addressed to us
            variables.update(self._service.environment())
        self._stopper = None
        self._failed = self._stopped_by_us = self._is_stopped = self._first_has_ended = False
        self._began = time.monotonic()
        try:
            pid = spawn(
                self._settings.command, variables, stdio=stdio, in_child=self._binding(lock is not None)
            )
        except OSError as error:  # EAGAIN, ENOMEM: there is no process to be had
            say(f"cannot start a process: {error.strerror}")
            self._status = FAILED
            self._loop.call_later(0, self._be_done)
            return
        self._group = self._main = pid
        self._reaper.expect(pid, lambda status: self._on_end(pid, status), self._on_stop)
        if self._service is not None:
            self._service.command_started()

    def _binding(self, locked: bool) -> Callable[[], None] | None:
        """Under a lock, the command must not outlive us, or two would do the job."""
        if not locked or sys.platform != "linux":
            return None
        from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (needs ctypes)

        ours = os.getpid()
        return lambda: die_with_parent(signal.SIGKILL, ours)

    def forward(self, number: int) -> None:
        """Send it a signal."""
        if self._main:
            say(f"forwarding {signal_name(number)} to {self._main}", 2)
            whole_group = self._settings.whole_group
            if number == signal.SIGCONT and self._is_stopped:
                self._is_stopped = False
                whole_group = True  # as Ctrl-Z has stopped it
                give_terminal(self._group)
            send(self._main, number, group=whole_group)

    def stop(self) -> None:
        """Stop it by the schedule; a stop that is under way goes on as it is."""
        if self._stopper is not None or not self._main:
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
        say(f"sending {signal_name(number)} to {self._main}", 0 if kill else 1)
        if self._main != self._group:
            send(self._main, number)
        if self._main == self._group or kill:
            send(self._group, number, group=kill or self._settings.whole_group)
        if self._is_stopped and number not in SUSPENDING:
            self.forward(signal.SIGCONT)  # or it would not act upon it

    def extend_stop(self, seconds: float) -> None:
        """Lengthen the stage of a stop that is under way."""
        if self._stopper is not None and not self._failed:
            self._stopper.extend(seconds)

    def fail(self, _reason: str) -> None:
        """It hangs: end it so that it can leave a trace, and then by force."""
        self._failed = True
        self._stop_by(Schedule(ABORT))

    def belongs(self, pid: int) -> bool:
        """Whether a process is the command's."""
        from leaderlock.supervisor.family import belongs  # noqa: PLC0415  (only for a service)

        return self.is_running and belongs(pid, self._group, self._sidecars(), reaper=self._is_reaper)

    def set_main_process(self, pid: int) -> None:
        """Another process of the command is its main one, whose end is the command's."""
        if pid in (self._main, os.getpid()) or not self.belongs(pid):
            return
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended since
            return
        say(f"the main process is {pid} now", 1)
        self._forget_main_fd()
        self._main = pid
        if pid == self._group:
            os.close(fd)
            return
        self._main_fd = fd
        self._reaper.expect(pid, lambda status: self._on_other_main_end(pid, status))
        self._loop.on_readable(fd, lambda: self._on_other_main_gone(pid))

    def _forget_main_fd(self) -> None:
        if self._main_fd >= 0:
            self._loop.forget(self._main_fd)
            os.close(self._main_fd)
            self._main_fd = -1

    def _on_other_main_gone(self, pid: int) -> None:
        self._reaper.collect()
        # If it was not, or has not become, our child, its status is another one's to know.
        self._on_other_main_end(pid, 0)

    def _on_other_main_end(self, pid: int, status: int) -> None:
        if pid != self._main:
            return
        self._forget_main_fd()
        if self._first_has_ended:
            self._on_main_end(status)
        else:
            say(f"the main process has ended, it is {self._group} again", 1)
            self._main = self._group

    def _on_end(self, pid: int, status: int) -> None:
        if pid != self._group:  # one that we have given up
            return
        self._first_has_ended = True
        if self._main == self._group:
            self._on_main_end(status)

    def _on_main_end(self, status: int) -> None:
        take_terminal_back(self._group)
        self._main = 0
        self._status = FAILED if self._failed and status == 0 else status
        self.ran = time.monotonic() - self._began
        say(f"the command has ended with status {status}", 1)
        if self._stopper is not None:
            self._stopper.cancel()
        if self._service is not None:
            self._service.command_ended()
        schedule = self._settings.schedule
        if schedule is None or not self._may_have_left_any():
            self._be_done()
        else:
            from leaderlock.supervisor.leftovers import Leftovers  # noqa: PLC0415  (if any)

            Leftovers(self._loop, self._left_behind, schedule, self._be_done).stop()

    def _may_have_left_any(self) -> bool:
        """False if the group is empty and orphans are not ours to care for: as nearly always."""
        if self._is_reaper:
            return True
        try:
            os.killpg(self._group, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # somebody else's, set-user-ID
            return True
        return True

    def _left_behind(self) -> set[int]:
        from leaderlock.supervisor.family import left_behind  # noqa: PLC0415  (as above)

        return left_behind(self._group, self._sidecars(), reaper=self._is_reaper)

    def _give_up(self) -> None:
        assert self._stopper is not None
        if self._settings.lock is not None and self._stopper.last_signal != signal.SIGKILL:
            # The lock is about to pass on, and must not leave behind who still does its work.
            self._stop_by(Schedule(LAST))
            return
        self._forget_main_fd()
        say("the command has not ended by the end of the stop schedule; it is left to itself")
        self._main = 0
        self._status = 128 + self._stopper.last_signal
        self._be_done()

    def _be_done(self) -> None:
        self._group = 0
        self._done(self._status)

    def _on_stop(self, number: int) -> None:
        """It was stopped (Ctrl-Z): stop too, so that the shell takes over; then go on together."""
        self._is_stopped = True
        if self._stopper is not None:
            if self._stopper.last_signal not in SUSPENDING:
                self.forward(signal.SIGCONT)  # it is to end
            return
        # A leader of its session, as PID 1 is, nobody could continue; nor without a terminal. And a
        # watchdog must not be put to sleep by what makes the command hang.
        hangs = self._service is not None and number == signal.SIGSTOP
        if hangs or os.getpid() == os.getsid(0) or not has_terminal():
            return
        take_terminal_back(self._group)
        os.kill(os.getpid(), signal.SIGSTOP)
        # The SIGCONT that ends this is forwarded, once: a second one could undo the next Ctrl-Z.
        if self._service is not None:
            self._service.command_continued()


def environment(lock: LeaderLock | None) -> dict[str, str]:
    """The command's environment: ours, with the term and the path of the lock."""
    variables = dict(os.environ)
    if lock is not None:
        variables["LEADERLOCK_TERM"] = str(lock.term)
        variables["LEADERLOCK_PATH"] = lock.path
    return variables
