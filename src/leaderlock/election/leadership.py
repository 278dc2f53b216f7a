"""`Leadership`: what a task is handed when it leads, and by which it learns that it must stop."""

from __future__ import annotations

import math
import os

from leaderlock.election.current import of_this_process
from leaderlock.election.stopping import Stopping
from leaderlock.election.ticks import Ticks
from leaderlock.errors import LeadershipLost, LockFileUnusable, NotHeld
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.threads import get_ident, start_new_thread
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import NoReturn

    from leaderlock.deadman import DeadManSwitch
    from leaderlock.engines.engine import Tenure, Watch


class OfThisProcess:
    """What is of no use to another process: pickle refuses it, and says what to hand over instead."""

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled, since it belongs to process {os.getpid()}: "
            f"hand the Election to another process, which may stand there, or the term, a number"
        )


class Leadership(OfThisProcess):
    """One term of leading, from the election to the resignation.

    Attributes:
        term: the fencing token: hand it to whatever the task writes to, which can then refuse the
            writes of an earlier term.
        since: when it was elected, in seconds since the epoch.
        lost: whether the lock's file was found to be deleted or replaced.
    """

    def __init__(self, tenure: Tenure, switch: DeadManSwitch | None = None) -> None:
        self.term = 0
        self.since = 0.0
        self.lost = False
        self._takes_over = False  # whether somebody else led until then
        self._is_beaten_for = False  # an event loop or a hub beats in the task's place: it may wait
        self._stopping = Stopping()
        # Put off until the task first waits, beats, looks at `stopping` or ends: a cold log line takes
        # 0.25 ms, in which nobody would do the work. It may call `_watch_for_loss`.
        self._deferred: Callable[[Leadership], None] | None = None
        self._watch: Watch | None = None
        self._thread = 0
        self._tenure = tenure
        self._switch = switch
        self._pid = os.getpid()

    def _begin(self, *, in_earnest: bool) -> None:
        """Take over the term of the tenure, which has just begun."""
        tenure = self._tenure
        self.term = tenure.term
        self.since = tenure.since
        self._takes_over = tenure.takes_over
        self._thread = get_ident()
        if in_earnest:
            of_this_process.append(self)

    def _end(self) -> None:
        """Say that the term is over: what still runs is asked to stop."""
        self._run_deferred()
        self._stopping.set()
        if self._watch is not None:
            self._watch.end()
        if self in of_this_process:
            of_this_process.remove(self)

    @property
    def stopping(self) -> threading.Event:
        """Set when the task is asked to stop.

        That is by `Candidate.stop`, at the interpreter's exit, or because the leadership is lost.
        """
        self._run_deferred_and_watch()
        return self._stopping

    def _run_deferred_in_thread(self) -> None:
        """Do what was put off now, in a thread of its own, for a task that may never wait."""
        if self._deferred is not None:
            try:
                start_new_thread(self._run_deferred_and_watch, ())
            except RuntimeError:  # the system has no thread left
                self._run_deferred_and_watch()

    def _run_deferred_and_watch(self) -> None:
        """Do what was put off now, and watch in a thread from here on: the task may not wait."""
        self._run_deferred()
        if self._watch is not None and not self._watch.has_thread:
            try:
                self._watch.start()
            except RuntimeError as error:  # the system has no thread left
                self._log_no_watch(error)

    def _run_deferred(self) -> None:
        """Do what was put off now."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred(self)

    def wait(self, seconds: float) -> bool:
        """Sleep for some seconds, or until asked to stop; whether it was asked to.

        Meanwhile it notices, where the kernel tells, that the lock's file is deleted or replaced.

        Raises:
            ValueError: it would outlast the lease, as nobody beats meanwhile.
            BlocksEventLoop: in a coroutine, where `asyncio.sleep` waits.
        """
        refuse_to_block(
            f"leadership.wait({seconds!r})",
            f"write `await {{library}}.sleep({seconds!r})`; it is cancelled when the task is to stop",
        )
        if self._switch is not None and not (seconds < self._switch.lease or self._is_beaten_for):
            raise ValueError(
                f"a wait of {seconds!r} s would outlast the lease of {self._switch.lease:g} s, and end "
                f"by SIGKILL: use every(), or wait for less and beat() in between"
            )
        self._run_deferred()
        return self._pause(seconds)

    def _pause(self, seconds: float) -> bool:
        """Wait; the task's thread looks out itself meanwhile, unless another one does."""
        if self._thread != get_ident():
            return self.stopping.wait(seconds)
        watch = self._watch
        if watch is None or watch.has_thread:
            return self._stopping.wait(seconds)
        return watch.wait(self._stopping, seconds)

    def beat(self) -> None:
        """Say that the task is alive, and make sure that it still leads; some 10 microseconds.

        The lease, if there is one, begins anew, unless the leadership is lost: a task that goes on all
        the same is killed.

        Raises:
            LeadershipLost: as `check` does; `stopping` is set then.
        """
        try:
            self._require_own()
            self._tenure.beat()
        except LeadershipLost as error:
            self._lose(error)
            raise
        if self._tenure.request.asked:
            self._stopping.set()
        if self._switch is not None:
            self._switch.beat()
        if self._deferred is not None:
            self._run_deferred_and_watch()

    def _watch_for_loss(self, lost: Callable[[], object]) -> None:
        """Notice from here on, where the kernel tells, a file that is replaced or closed by other code.

        The task is asked to stop then, and `lost` is called, in another thread. A record is mended.
        """

        def look() -> None:
            try:
                if not self._stopping.is_set():
                    self._require_own()
                    self._tenure.look()
                    if self._tenure.request.asked:
                        self._stopping.set()
            except LeadershipLost as error:
                if not self._stopping.is_set():  # it was given up meanwhile
                    self._lose(error)
                    lost()
            except LockFileUnusable:  # the path cannot be looked at: nothing is known
                return

        try:
            self._watch = self._tenure.watch(look)
            self._watch.open()
        except (ImportError, OSError, NotHeld) as error:
            self._watch = None
            self._log_no_watch(error)
            look()  # other code may have closed it already

    def _log_no_watch(self, error: Exception) -> None:
        log().debug("only a beat tells if %s is replaced: %s", self._tenure.engine.address, error)

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            log().error("leadership lost: %s", error)
        self._stopping.set()

    def _end_lease(self) -> None:
        """The task has returned, and the leadership is held on to: nobody need beat from here on."""
        if self._switch is not None:
            self._switch.disarm()
            self._tenure.end_lease()

    def check(self) -> None:
        """Make sure that this process still leads, by the lock and by the path of its file.

        Raises:
            LeadershipLost: the file was deleted or replaced, the leadership was given up, or this is
                a forked child of the leader.
        """
        self._require_own()
        self._tenure.check()

    def _require_own(self) -> None:
        if self._pid != os.getpid():
            raise LeadershipLost(
                f"process {os.getpid()} is a forked child of the leader {self._pid}, and does not lead"
            )

    def every(self, seconds: float) -> Ticks:
        """Tick at once and then every so many seconds, counted from 0, until asked to stop.

        For ``for`` and, in a coroutine, for ``async for``; there, ``for`` raises `BlocksEventLoop`.

        Ticks keep to the beat of the first (on the monotonic clock): a slow one does not put off the
        next, and those that were missed are left out and not made up. Each tick beats; if that finds
        the leadership lost, the loop ends too.

        Raises:
            ValueError: seconds is not a positive number, or the lease is shorter than two ticks.
        """
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds must be a positive number, not {seconds!r}")
        lease = math.inf if self._switch is None or self._is_beaten_for else self._switch.lease
        if lease < 2 * seconds:
            raise ValueError(
                f"the lease of {lease:g} s is shorter than twice the tick of {seconds:g} "
                f"s, so that one late tick would be death: choose a longer lease or a shorter tick"
            )
        return Ticks(self, seconds)

    def __repr__(self) -> str:
        return f"<leaderlock.Leadership term={self.term} of {self._tenure.engine.address!r}>"


def run_deferred_in_thread(leadership: Leadership) -> None:
    """Do what was put off now, in a thread of its own: a function of `only_once` may never wait."""
    leadership._run_deferred_in_thread()
