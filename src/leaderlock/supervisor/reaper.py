"""Reaps children that have ended: our own, and orphans that the kernel has given to us."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Reaper:
    """Calls back for each child that is expected; reaps all others as orphans.

    Args:
        on_orphan: called with the process ID and the exit status of each orphan.

    Attributes:
        when_collected: called after `collect` has reaped all children that had ended.
    """

    def __init__(self, on_orphan: Callable[[int, int], None]) -> None:
        self._on_orphan = on_orphan
        self._ended: dict[int, Callable[[int], None]] = {}
        self._stopped: dict[int, Callable[[int], None]] = {}
        self.when_collected: Callable[[], None] | None = None

    def expect(
        self, pid: int, ended: Callable[[int], None], stopped: Callable[[int], None] | None = None
    ) -> None:
        """Call `ended` with the child's exit status, and `stopped` with each signal that stops it."""
        self._ended[pid] = ended
        if stopped is not None:
            self._stopped[pid] = stopped

    def forget(self, pid: int) -> None:
        """Stop expecting the child: if it ends, it is reaped as an orphan."""
        self._ended.pop(pid, None)

    def collect(self) -> None:
        """Reap all children that have ended; one SIGCHLD may stand for any number of them."""
        self._collect()
        if self.when_collected is not None:
            self.when_collected()

    def _collect(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                if pid in self._stopped:
                    self._stopped[pid](os.WSTOPSIG(status))
                continue
            self._stopped.pop(pid, None)
            ended = self._ended.pop(pid, None)
            if ended is None:
                self._on_orphan(pid, exit_status(status))
            else:
                ended(exit_status(status))


def exit_status(status: int) -> int:
    """The shell's exit status for a status from waitpid(2): 128 + N if signal N ended the child."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
