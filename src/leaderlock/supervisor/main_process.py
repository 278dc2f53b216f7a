"""`MainProcess`: the one process of a command whose end is the command's end."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.processes import process_of
from leaderlock.supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.reaper import Reaper


class MainProcess:
    """The process that was started, or another one that ``MAINPID=`` named in its place.

    Args:
        loop, reaper: report ended processes.
        ended: called with the exit status when the main process has ended.
        stopped: called with the number of the signal that stopped the first process (Ctrl-Z).

    Attributes:
        first: the process that was started; 0 before the start, and when no process is left.
        pid: the main process; 0 when it has ended.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        ended: Callable[[int], None],
        stopped: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._reaper = reaper
        self._ended = ended
        self._stopped = stopped
        self._fd = -1
        self._first_has_ended = False
        self.first = 0
        self.pid = 0

    def begin(self, pid: int) -> None:
        """Take the process of a command that has just been started."""
        self.first = self.pid = pid
        self._first_has_ended = False
        self._reaper.expect(pid, lambda status: self._on_first_end(pid, status), self._stopped)

    def change(self, pid: int) -> None:
        """Make another process of the command the main one."""
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:  # the process has ended meanwhile
            return
        except OSError as error:  # ENOSYS: Linux before 5.3; EPERM: a seccomp profile
            process = process_of(pid)
            if process is None or process.parent != os.getpid():
                say(f"MAINPID={pid} is ignored: leaderlock cannot watch for its end ({error.strerror})")
                return
            fd = -1  # our child: SIGCHLD reports its end, and its PID is not reused before
        say(f"the main process is {pid} now", 1)
        self._close()
        self.pid = pid
        if pid == self.first:
            if fd >= 0:
                os.close(fd)
            return
        self._reaper.expect(pid, lambda status: self._on_other_end(pid, status))
        if fd >= 0:
            self._fd = fd
            self._loop.on_readable(fd, lambda: self._on_other_gone(pid))

    def follow(self, pid: int) -> None:
        """The main process has ended: take a child of ours that it left behind as the main process."""
        self.pid = pid
        self._reaper.expect(pid, lambda status: self._on_other_end(pid, status))

    def forget(self) -> None:
        """Forget the processes: none is left, or leaderlock no longer waits for them."""
        self._close()
        self.first = self.pid = 0

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.forget(fd)
            os.close(fd)

    def _on_first_end(self, pid: int, status: int) -> None:
        if pid != self.first:  # a process that leaderlock stopped waiting for
            return
        self._first_has_ended = True
        if self.pid == pid:
            self._end(status)

    def _on_other_gone(self, pid: int) -> None:
        self._reaper.collect()
        # If the process is not our child, only its own parent can read its exit status.
        self._on_other_end(pid, 0)

    def _on_other_end(self, pid: int, status: int) -> None:
        if pid != self.pid:
            return
        self._close()
        if self._first_has_ended:
            self._end(status)
        else:
            say(f"the main process has ended: process {self.first} is the main process again", 1)
            self.pid = self.first

    def _end(self, status: int) -> None:
        self.pid = 0
        self._ended(status)
