"""Stopping what a command leaves behind when it ends, before anything kills it unasked."""

from __future__ import annotations

import os

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.schedule import Stopper
from leaderlock.supervisor.signals import SUSPENDING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.schedule import Schedule


class Leftovers:
    """Stops a changing set of processes by a schedule, and tells when none is left.

    Their ends are heard of by pidfds, since without a reaper's rights they are not our children.
    """

    def __init__(
        self,
        loop: Loop,
        find: Callable[[], set[int]],
        schedule: Schedule,
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._find = find
        self._done = done
        self._watched: dict[int, int] = {}
        self._stopper = Stopper(loop, schedule, self._send, self._finish)

    def stop(self) -> None:
        """Begin; `done` is called, perhaps at once, when all have ended or the schedule has."""
        if self._watch():
            self._stopper.step()
        else:
            self._finish()

    def _watch(self) -> bool:
        """Watch all that live now; whether there are any."""
        for pid in self._find() - set(self._watched):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:  # it has ended since
                continue
            self._watched[pid] = fd
            self._loop.on_readable(fd, lambda pid=pid: self._ended(pid))  # type: ignore[misc]
        return bool(self._watched)

    def _ended(self, pid: int) -> None:
        self._unwatch(pid)
        if self._watched:
            return
        if self._watch():  # born meanwhile, so that nobody has asked them yet
            self._send(self._stopper.last_signal)
        else:
            self._finish()

    def _unwatch(self, pid: int) -> None:
        fd = self._watched.pop(pid)
        self._loop.forget(fd)
        os.close(fd)

    def _send(self, number: int) -> None:
        if number in SUSPENDING:  # asks the command to take no more work; they have none to take
            return
        self._watch()  # also what they have started meanwhile
        for fd in self._watched.values():
            try:
                signal.pidfd_send_signal(fd, number)
                signal.pidfd_send_signal(fd, signal.SIGCONT)  # a stopped one acts upon nothing else
            except (ProcessLookupError, PermissionError):  # ended, or set-user-ID
                continue

    def _finish(self) -> None:
        self._stopper.cancel()
        for pid in list(self._watched):
            self._unwatch(pid)
        self._done()
