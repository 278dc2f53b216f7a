"""`Leadership`: what a task is handed when it leads, and by which it learns that it must stop."""

from __future__ import annotations

import math
import os
import time

from leaderlock.election.current import of_this_process
from leaderlock.election.stopping import Stopping
from leaderlock.election.ticks import Ticks
from leaderlock.errors import LeadershipLost, LockFileReplaced, LockFileUnusable, NotHeld
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.threads import get_ident, start_new_thread
from leaderlock.lock.journal import AT_ONCE
from leaderlock.lock.resigning import Request
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import NoReturn

    from leaderlock.deadman import DeadManSwitch
    from leaderlock.engines.file_watch import LookOut
    from leaderlock.lock.leader_lock import LeaderLock

_NOTE_EVERY = 1.0
"""Seconds: a beat is noted in the history no more often, or four times in a lease that is short."""


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
        request: that to resign, by ``leaderlock resign``.
        takes_over: whether somebody else led until then.
        is_beaten_for: whether an event loop or a hub beats in the task's place, so that this may wait.
        news: what to call, with this, when the task first waits, beats, looks at `stopping` or ends,
            and not before it begins: to log a line takes a quarter of a millisecond, cold, in which
            nobody would do the work. It may call `look_out`.
    """

    def __init__(self, lock: LeaderLock, switch: DeadManSwitch | None = None) -> None:
        self.term = 0
        self.since = 0.0
        self.lost = False
        self.takes_over = False
        self.is_beaten_for = False
        self._stopping = Stopping()
        self.news: Callable[[Leadership], None] | None = None
        self._lookout: LookOut | None = None
        self._thread = 0
        self._lock = lock
        self._switch = switch
        self._pid = os.getpid()
        self._note_every = _NOTE_EVERY if switch is None else min(_NOTE_EVERY, switch.lease / 4)
        self._next_note = 0.0

    def begin(self, *, in_earnest: bool) -> None:
        """Take over the term of the lock, which has just been acquired."""
        hold = self._lock._gate.inside
        assert hold is not None
        self.term = hold.term
        self.since = hold.since
        self.takes_over = hold.waited > AT_ONCE
        self.request = Request(self._lock)  # not in each standby
        self._thread = get_ident()
        self._next_note = time.monotonic() + self._note_every
        if in_earnest:
            of_this_process.append(self)

    def end(self) -> None:
        """Say that the term is over: what still runs is asked to stop."""
        self.announce()
        self._stopping.set()
        if self._lookout is not None:
            self._lookout.end()
        if self in of_this_process:
            of_this_process.remove(self)

    @property
    def stopping(self) -> threading.Event:
        """Set when the task is asked to stop.

        That is by `Candidate.stop`, at the interpreter's exit, or because the leadership is lost.
        """
        self.tell()
        return self._stopping

    def tell_beside(self) -> None:
        """Call `news` now, in a thread of its own, for a task that may do none of these."""
        if self.news is not None:
            try:
                start_new_thread(self.tell, ())
            except RuntimeError:  # the system has no thread left
                self.tell()

    def tell(self) -> None:
        """Call `news` now, and look out in a thread from here on: the task may not wait for long."""
        self.announce()
        if self._lookout is not None and not self._lookout.has_thread:
            try:
                self._lookout.start()
            except RuntimeError as error:  # the system has no thread left
                self._say_that_none_looks_out(error)

    def announce(self) -> None:
        """Call `news` now."""
        news, self.news = self.news, None
        if news is not None:
            news(self)

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
        if self._switch is not None and not (seconds < self._switch.lease or self.is_beaten_for):
            raise ValueError(
                f"a wait of {seconds!r} s would outlast the lease of {self._switch.lease:g} s, and end "
                f"by SIGKILL: use every(), or wait for less and beat() in between"
            )
        self.announce()
        return self._pause(seconds)

    def _pause(self, seconds: float) -> bool:
        """Wait; the task's thread looks out itself meanwhile, unless another one does."""
        if self._thread != get_ident():
            return self.stopping.wait(seconds)
        lookout = self._lookout
        if lookout is None or lookout.has_thread:
            return self._stopping.wait(seconds)
        return lookout.wait(self._stopping, seconds)

    def beat(self) -> None:
        """Say that the task is alive, and make sure that it still leads; some 10 microseconds.

        The lease, if there is one, begins anew, unless the leadership is lost: a task that goes on all
        the same is killed.

        Raises:
            LeadershipLost: as `check` does; `stopping` is set then.
        """
        try:
            self.check()
            if time.monotonic() >= self._next_note:
                self._note_beat()
        except LeadershipLost as error:
            self._lose(error)
            raise
        if self._switch is not None:
            self._switch.beat()
        if self.news is not None:
            self.tell()

    def look_out(self, lost: Callable[[], object]) -> None:
        """Notice from here on, where the kernel tells, a file that is replaced or closed by other code.

        The task is asked to stop then, and `lost` is called, in another thread. A record is mended.
        """

        def look() -> None:
            try:
                if not self._stopping.is_set():
                    self.check()
                    self._lock._gate.mend()
                    self.request.heed(self._stopping.set)
            except (LeadershipLost, NotHeld) as error:
                if not self._stopping.is_set():  # it was given up meanwhile
                    self._lose(error)
                    lost()
            except LockFileUnusable:  # the path cannot be looked at: nothing is known
                return

        try:
            from leaderlock.engines import file_watch as lookout  # noqa: PLC0415  (ctypes; see rehearsal.py)

            self._lookout = lookout.LookOut(look)
            self._lookout.open(self._lock.fileno())
        except (ImportError, OSError, NotHeld) as error:
            self._lookout = None
            self._say_that_none_looks_out(error)
            look()  # other code may have closed it already

    def _say_that_none_looks_out(self, error: Exception) -> None:
        log().debug("only a beat tells if %s is replaced: %s", self._lock.path, error)

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            log().error("leadership lost: %s", error)
        self._stopping.set()

    def _note_beat(self) -> None:
        self._next_note = time.monotonic() + self._note_every
        gate = self._lock._gate
        try:
            gate.mend()
            self.request.heed(self._stopping.set)
            hold = gate.inside
            if hold is not None:
                hold.beat()
        except NotHeld as error:
            raise LeadershipLost(str(error)) from error

    def note_beginning(self) -> None:
        """Note the term in the history, which the next leader would else have to do before it leads."""
        gate = self._lock._gate
        with gate.mutex:  # nobody notes the end meanwhile, by another thread
            hold = gate.inside
            if hold is not None and hold.is_held and not hold.is_journalled:
                hold.journal()

    def note_end(self, how: str) -> None:
        """Note in the history how the term is about to end."""
        gate = self._lock._gate
        with gate.mutex:
            hold = gate.inside
            if hold is not None:
                hold.journal(time.time(), how)

    def end_lease(self) -> None:
        """The task has returned, and the leadership is held on to: nobody need beat from here on."""
        if self._switch is not None:
            self._switch.disarm()
            hold = self._lock._gate.inside
            if hold is not None:
                self._lock._file.lease = None
                hold.beat()

    def check(self) -> None:
        """Make sure that this process still leads, by the lock and by the path of its file.

        Raises:
            LeadershipLost: the file was deleted or replaced, the leadership was given up, or this is
                a forked child of the leader.
        """
        if self._pid != os.getpid():
            raise LeadershipLost(
                f"process {os.getpid()} is a forked child of the leader {self._pid}, and does not lead"
            )
        hold = self._lock._gate.inside
        if hold is None or not hold.is_held or hold.term != self.term:
            raise LeadershipLost(f"term {self.term} of {self._lock.path} is over")
        try:
            if not hold.is_current():
                self._lock.check()
        except (NotHeld, LockFileReplaced) as error:
            raise LeadershipLost(str(error)) from error

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
        lease = math.inf if self._switch is None or self.is_beaten_for else self._switch.lease
        if lease < 2 * seconds:
            raise ValueError(
                f"the lease of {lease:g} s is shorter than twice the tick of {seconds:g} "
                f"s, so that one late tick would be death: choose a longer lease or a shorter tick"
            )
        return Ticks(self, seconds)

    def __repr__(self) -> str:
        return f"<leaderlock.Leadership term={self.term} of {self._lock.path!r}>"
