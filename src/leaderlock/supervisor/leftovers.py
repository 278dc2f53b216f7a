"""Stops the processes that a command leaves behind, before anything kills them without a warning."""

from __future__ import annotations

import os

from leaderlock.kernel.proc.keepers import is_keeper
from leaderlock.kernel.proc.processes import command_line
from leaderlock.kernel.signals import signal
from leaderlock.supervisor.schedule import Stopper
from leaderlock.supervisor.signals import SUSPENDING, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.supervisor.loop import Loop
    from leaderlock.supervisor.reaper import Reaper
    from leaderlock.supervisor.schedule import Schedule


class Leftovers:
    """Stops a changing set of processes by a schedule, and reports when none is left.

    If we are a reaper, each process becomes our child before it ends, and SIGCHLD reports the last end.
    Otherwise pidfds report the ends. Where pidfds are forbidden or missing, we have become a subreaper,
    and SIGCHLD reports them too.

    Args:
        loop, reaper: report elapsed time and ended children.
        find: returns the processes that are left now.
        schedule: how to stop them.
        by_pidfd: whether pidfds report the ends of these processes.
        found: called once, with the names of the first processes that are asked to end.
        done: called once, when no process is left.
        given_up: called if some processes outlive the schedule. If it returns True, `done` is
            called anyway; if False, we keep waiting, and `stop` begins the schedule again.
    """

    def __init__(
        self,
        loop: Loop,
        reaper: Reaper,
        find: Callable[[], set[int]],
        schedule: Schedule,
        *,
        by_pidfd: bool,
        found: Callable[[str], None],
        done: Callable[[], None],
        given_up: Callable[[int], bool],
    ) -> None:
        self._loop = loop
        self._reaper = reaper
        self._find = find
        self._schedule = schedule
        self._by_pidfd = by_pidfd
        self._found = found
        self._has_named = False
        self._done = done
        self._given_up = given_up
        self._pidfds: dict[int, int] = {}
        self._asked: set[int] = set()
        self._stopper: Stopper | None = None
        self._is_over = False

    def stop(self) -> None:
        """Begin, or begin again, to stop them; `done` is called, perhaps at once, when all ended."""
        if self._stopper is not None:
            return
        if not self._is_any_left():
            self._finish()
            return
        self._reaper.when_collected = self._look
        self._stopper = Stopper(self._loop, self._schedule, self._send, self._end_schedule)
        self._stopper.step()

    def _is_any_left(self) -> bool:
        left = self._find()
        if self._by_pidfd:
            self._watch(left)
            return bool(self._pidfds)
        return bool(left)

    def _watch(self, pids: set[int]) -> None:
        for pid in pids - set(self._pidfds):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:  # the process has ended meanwhile
                continue
            self._pidfds[pid] = fd
            self._loop.on_readable(fd, lambda pid=pid: self._on_end(pid))  # type: ignore[misc]

    def _on_end(self, pid: int) -> None:
        self._unwatch(pid)
        if not self._pidfds:
            self._look()

    def _look(self) -> None:
        """After an end: finish if no process is left; ask new processes, forked meanwhile, to end."""
        if self._is_over or (self._by_pidfd and self._pidfds):
            return
        if not self._is_any_left():
            self._finish()
        elif self._stopper is not None and (new := self._find() - self._asked):
            self._ask(new, self._stopper.last_signal)

    def _unwatch(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        self._loop.forget(fd)
        os.close(fd)

    def _send(self, number: int) -> None:
        if number not in SUSPENDING:  # these ask a command to take no more work; leftovers get none
            self._ask(self._find(), number)

    def _ask(self, pids: set[int], number: int) -> None:
        if self._by_pidfd:
            self._watch(pids)  # also the processes that they forked meanwhile
            pids = set(self._pidfds)
        self._asked |= pids
        if not self._has_named and (names := name_of(pids)):
            self._has_named = True
            self._found(names)
        for pid in pids:
            for one in (number, signal.SIGCONT):  # a stopped process acts on the signal after SIGCONT
                send(pid, one, pidfd=self._pidfds.get(pid, -1))

    def _end_schedule(self) -> None:
        assert self._stopper is not None
        last, self._stopper = self._stopper.last_signal, None
        if self._given_up(last):
            self._finish()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._reaper.when_collected = None
        if self._stopper is not None:
            self._stopper.cancel()
        for pid in list(self._pidfds):
            self._unwatch(pid)
        self._done()


def name_of(pids: set[int]) -> str:
    """A text that names the living processes: the first one's command line, the others' number.

    A keeper is not named: it ends by itself, some milliseconds after the leader that it belongs to.
    """
    named = [pid for pid in sorted(pids) if not is_keeper(pid)]
    lines = {pid: line for pid in named if (line := command_line(pid))}
    if not lines:
        return ""
    first = min(lines)
    others = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"process {first} ({lines[first][:100]}){others}"
