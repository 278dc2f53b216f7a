"""`Leadership`: the argument of a task that leads; it also tells the task to stop."""

from __future__ import annotations

import math
import os

from leaderlock.election.current import of_this_process
from leaderlock.election.stopping import Stopping
from leaderlock.election.ticks import Ticks
from leaderlock.errors import LeadershipLost, LockFileUnusable, NotHeld
from leaderlock.kernel.arguments import names_near_keyword, number, positive_seconds
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.threads import get_ident, start_new_thread
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    from leaderlock.deadman import DeadManSwitch
    from leaderlock.engines.engine import Engine, Tenure, Watch

    class Announcer(Protocol):
        """A candidate, for a leadership."""

        def _announce(self, leadership: Leadership) -> None:
            """Record and log the term, and watch for its loss."""


class OfThisProcess:
    """Base of objects that only this process can use: pickle refuses them, and names an alternative."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled, since it belongs to process {os.getpid()}: "
            f"hand the Election to another process, which may stand there, or the term, a number"
        )


class Leadership(OfThisProcess):
    """One term of leading, from the election to the resignation.

    Attributes:
        term: the fencing token. The task hands it to the systems that it writes to; these can then
            refuse the writes of an earlier term.
        since: the time of the election, in seconds since the epoch.
        lost: whether the lock's file was found to be deleted or replaced.
    """

    def __init__(self, engine: Engine, tenure: Tenure, switch: DeadManSwitch | None = None) -> None:
        """Make the leadership of a tenure, whose term has just begun, in the thread that leads."""
        self.term = tenure.term
        self.since = tenure.since
        self.lost = False
        self._takes_over = tenure.takes_over  # whether another process led until then
        self._is_beaten_for = False  # an event loop or a hub beats, so the task may wait
        self._stopping = Stopping()
        # Put off until the task first waits, beats, looks at `stopping` or ends: a cold log call would
        # delay the task by 0.25 ms. For speed (see "How it is built"), this is the candidate, whose
        # `_announce` is called, and not its bound method. `_announce` may call `_watch_for_loss`.
        self._deferred: Announcer | None = None
        self._watch: Watch | None = None
        self._thread = get_ident()
        self._engine = engine
        self._tenure = tenure
        self._switch = switch
        self._pid = os.getpid()

    def _end(self) -> None:
        """End the term; ask a task that still runs to stop."""
        self._run_deferred()
        self._stopping.set()
        if self._watch is not None:
            self._watch.end()
        if self in of_this_process:
            of_this_process.remove(self)

    @property
    def stopping(self) -> threading.Event:
        """Set when the task is asked to stop.

        The request comes from `Candidate.stop`, at the interpreter's exit, or after the leadership is
        lost.
        """
        self._run_deferred_and_watch()
        return self._stopping

    def _run_deferred_and_watch(self) -> None:
        """Run the deferred function now, then watch in a thread, since the task may never wait."""
        self._run_deferred()
        if self._watch is not None and not self._watch.has_thread:
            try:
                self._watch.start()
            except RuntimeError as error:  # the system has no thread left
                self._log_no_watch(error)

    def _run_deferred(self) -> None:
        """Run the deferred function now."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred._announce(self)

    @names_near_keyword
    def wait(self, seconds: float) -> bool:
        """Sleep for some seconds, or until the task is asked to stop; return whether it was asked.

        The wait also notices, where the kernel reports it, that the lock's file is deleted or replaced.

        Raises:
            ValueError: the wait would outlast the lease, since nothing beats during the wait.
            BlocksEventLoop: the caller is a coroutine; use `asyncio.sleep` there.
        """
        refuse_to_block(
            f"leadership.wait({seconds!r})",
            f"write `await {{library}}.sleep({seconds!r})`; it is cancelled when the task is to stop",
        )
        seconds = number("seconds", seconds, "a number of seconds")
        if self._switch is not None and not (seconds < self._switch.lease or self._is_beaten_for):
            raise ValueError(
                f"a wait of {seconds!r} s would outlast the lease of {self._switch.lease:g} s, and end "
                f"by SIGKILL: use every(), or wait for less and beat() in between"
            )
        self._run_deferred()
        return self._pause(seconds)

    def _pause(self, seconds: float) -> bool:
        """Wait. The task's own thread watches the file during the wait, unless another thread does."""
        if self._thread != get_ident():
            return self.stopping.wait(seconds)
        watch = self._watch
        if watch is None or watch.has_thread:
            return self._stopping.wait(seconds)
        return watch.wait(self._stopping, seconds)

    def beat(self) -> None:
        """Report that the task is alive, and check that its process leads; some 10 microseconds.

        A beat renews the lease, if there is one. After a loss, the beat does not renew the lease: a
        task that goes on is killed.

        Raises:
            LeadershipLost: for the reasons of `check`; `stopping` is then set.
        """
        try:
            self._require_own()
            self._tenure.beat()
        except LeadershipLost as error:
            self._lose(error)
            raise
        if self._tenure.request.asked:
            self._stop_on_request()
        if self._switch is not None:
            self._switch.beat()
        if self._deferred is not None:
            self._run_deferred_and_watch()

    def _stop_on_request(self) -> None:
        if not self._stopping.is_set():
            log().info("process %d is asked to resign from %s", self._pid, self._engine.address)
            self._stopping.set()

    def _watch_for_loss(self, lost: Callable[[], object]) -> None:
        """Watch for a file that other code replaces or closes, where the kernel reports such events.

        After a loss the task is asked to stop, and `lost` is called, in another thread. An overwritten
        record is written again.
        """

        def look() -> None:
            try:
                if not self._stopping.is_set():
                    self._require_own()
                    self._tenure.look()
                    if self._tenure.request.asked:
                        self._stop_on_request()
            except LeadershipLost as error:
                if not self._stopping.is_set():  # set: the term has ended meanwhile
                    self._lose(error)
                    lost()
            except LockFileUnusable:  # the path cannot be read: a loss is not proved
                return

        try:
            self._watch = self._tenure.watch(look)
            self._watch.open()
        except (ImportError, OSError, NotHeld) as error:
            self._watch = None
            self._log_no_watch(error)
            look()  # other code may have closed it already

    def _log_no_watch(self, error: Exception) -> None:
        log().debug("only a beat tells if %s is replaced: %s", self._engine.address, error)

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            log().error("leadership lost: %s", error)
        self._stopping.set()

    def _end_lease(self) -> None:
        """End the lease after the task has returned, while the process keeps the leadership."""
        if self._switch is not None:
            self._switch.disarm()
            self._tenure.end_lease()

    def check(self) -> None:
        """Make sure that this process still leads: check the lock and the path of its file.

        Raises:
            LeadershipLost: the file was deleted or replaced, the leadership was given up, or this
                process is a forked child of the leader.
        """
        self._require_own()
        self._tenure.check()

    def _require_own(self) -> None:
        if self._pid != os.getpid():
            raise LeadershipLost(
                f"process {os.getpid()} is a forked child of the leader {self._pid}, and does not lead"
            )

    @names_near_keyword
    def every(self, seconds: float) -> Ticks:
        """Tick at once, then once every `seconds`, counted from 0, until the task is asked to stop.

        Use ``for`` in a thread, ``async for`` in a coroutine; ``for`` raises `BlocksEventLoop` there.

        Ticks are due at multiples of `seconds` after the first tick (on the monotonic clock). A slow
        tick does not delay the next one; missed ticks are skipped. Each tick beats; the loop also ends
        if a beat finds the leadership lost.

        Raises:
            TypeError, ValueError: seconds is not a positive number.
            ValueError: the lease is shorter than two ticks.
        """
        seconds = positive_seconds("seconds", seconds)
        lease = math.inf if self._switch is None or self._is_beaten_for else self._switch.lease
        if lease < 2 * seconds:
            raise ValueError(
                f"the lease of {lease:g} s is shorter than twice the tick of {seconds:g} "
                f"s, so that one late tick would be death: choose a longer lease or a shorter tick"
            )
        return Ticks(self, seconds)

    def __repr__(self) -> str:
        return f"<leaderlock.Leadership term={self.term} of {self._engine.address!r}>"


def run_deferred_in_thread(leadership: Leadership) -> None:
    """Run the deferred function in a thread of its own: a function of `only_once` may never wait."""
    if leadership._deferred is not None:
        try:
            start_new_thread(leadership._run_deferred_and_watch, ())
        except RuntimeError:  # the system has no thread left
            leadership._run_deferred_and_watch()
