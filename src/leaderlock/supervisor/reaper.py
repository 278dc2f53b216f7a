"""Taking in children that have ended: our own, and orphans that the kernel has made ours."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Reaper:
    """Knows which children are awaited; all others are orphans, and only taken in.

    Args:
        on_orphan: told the process ID and the exit status of each orphan.

    Attributes:
        when_collected: called when all that had ended were taken in.
    """

    def __init__(self, on_orphan: Callable[[int, int], None]) -> None:
        self._on_orphan = on_orphan
        self._ended: dict[int, Callable[[int], None]] = {}
        self._stopped: dict[int, Callable[[int], None]] = {}
        self.when_collected: Callable[[], None] | None = None

    def expect(
        self, pid: int, ended: Callable[[int], None], stopped: Callable[[int], None] | None = None
    ) -> None:
        """Have `ended` called with the exit status, and `stopped` with the signal that stopped it."""
        self._ended[pid] = ended
        if stopped is not None:
            self._stopped[pid] = stopped

    def forget(self, pid: int) -> None:
        """Await it no more: should it end, it is taken in as an orphan."""
        self._ended.pop(pid, None)

    def collect(self) -> None:
        """Take in all that have ended by now; SIGCHLD says when, once for any number of them."""
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
    """The shell's exit status for one of waitpid(2): 128 + N for an end by signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
