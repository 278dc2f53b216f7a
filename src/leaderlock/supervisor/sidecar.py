"""Programs that run beside the command and outlive it: log shippers, proxies, exporters."""

from __future__ import annotations

import os
import select

from leaderlock.kernel.signals import signal
from leaderlock.supervisor.environment import passed_sockets, sidecar_environment
from leaderlock.supervisor.messages import say
from leaderlock.supervisor.signals import send, signal_name
from leaderlock.supervisor.spawn import CANNOT_RUN, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from leaderlock.supervisor.loop import Loop, LoopTimer
    from leaderlock.supervisor.reaper import Reaper


class Sidecar:
    """One sidecar.

    Its standard input is a pipe; closing the pipe asks the sidecar to end. For a log sidecar the
    command writes to this pipe, so that the end of file comes after the command's last line.

    Args:
        loop, reaper: report elapsed time and ended children.
        words: the program and its arguments.
        on_exit: called with the exit status if the sidecar ends before it is asked to.
    """

    def __init__(
        self, loop: Loop, reaper: Reaper, words: Sequence[str], on_exit: Callable[[Sidecar, int], None]
    ) -> None:
        self.words = words
        self.pid = 0
        self._loop = loop
        self._reaper = reaper
        self._on_exit = on_exit
        self._done: Callable[[], None] | None = None
        self._timer: LoopTimer | None = None
        self._output, self.input = os.pipe2(os.O_CLOEXEC)

    def start(self) -> None:
        """Start the sidecar, or start it again."""
        try:
            spawn(
                self.words,
                sidecar_environment(),
                self._born,
                stdio={0: self._output},
                foreground=False,
                without=passed_sockets(),
            )
        except OSError as error:  # EAGAIN, ENOMEM: no process could be started
            say(f"cannot start sidecar {self.words[0]}: {error.strerror}")
            self._loop.call_later(0, self._not_started)

    def _born(self, pid: int) -> None:
        self.pid = pid
        self._reaper.expect(pid, self._ended)

    def _not_started(self) -> None:
        if self._done is None:
            self._on_exit(self, CANNOT_RUN)

    def _ended(self, status: int) -> None:
        self.pid = 0
        if self._timer is not None:
            self._timer.cancel()
        if self._done is None:
            self._on_exit(self, status)
        else:
            self._done()

    def has_unread(self) -> bool:
        """Whether the sidecar's pipe contains unread data."""
        pipe = select.poll()
        pipe.register(self._output, select.POLLIN)
        return self.input >= 0 and bool(pipe.poll(0))

    def hang_up(self) -> None:
        """Close our ends of the pipe: the sidecar reads the remaining data, and then end of file."""
        if self.input >= 0:
            os.close(self.input)
            os.close(self._output)
            self.input = -1

    def end(self, grace: float, done: Callable[[], None]) -> None:
        """Let the sidecar end by itself; after `grace` seconds send TERM, after as many again KILL."""
        self._done = done
        self.hang_up()
        if not self.pid:
            done()
            return
        self._timer = self._loop.call_later(grace, lambda: self._ask(signal.SIGTERM, grace))

    def _ask(self, number: int, grace: float) -> None:
        say(f"sidecar {self.words[0]} has not ended, sending it {signal_name(number)}")
        send(self.pid, number, group=True)
        if number != signal.SIGKILL:
            self._timer = self._loop.call_later(grace, lambda: self._ask(signal.SIGKILL, grace))
        else:
            self._timer = self._loop.call_later(max(grace, 1), self._leave)

    def _leave(self) -> None:
        """Stop waiting: SIGKILL had no effect (another user's process, or an uninterruptible sleep)."""
        say(f"sidecar {self.words[0]} still runs after SIGKILL: leaderlock no longer waits for it")
        self._reaper.forget(self.pid)
        self._ended(128 + signal.SIGKILL)
