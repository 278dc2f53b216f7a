"""`Candidate`: stands for election, leads, and stands again after a failure."""

from __future__ import annotations

import _thread
import functools
import os
import time

from leaderlock.election.at_exit import end_notices, is_ending
from leaderlock.election.current import current, note_leading, set_current
from leaderlock.election.ending import Ending
from leaderlock.election.leadership import Leadership, OfThisProcess
from leaderlock.election.runners.native import NATIVE
from leaderlock.errors import LeaderLockError, LeadershipLost
from leaderlock.kernel.arguments import longest_wait, names_near_keyword
from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.green import HubIsGone, here
from leaderlock.kernel.threads import RLock, get_ident
from leaderlock.kernel.wait import Wait
from leaderlock.kernel.watchers import Watchers
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from leaderlock.election.ending import State
    from leaderlock.election.runners.runner import Runner
    from leaderlock.election.settings import ElectionSettings
    from leaderlock.engines.engine import Tenure

_BUILTIN: object = type(len)
"""The type of `_thread.start_new_thread`, unless gevent or eventlet has patched that function."""


class Candidate(Ending, OfThisProcess):
    """One participant of an `Election`, in a thread of its own; made by `Election.start`.

    In a forked child the candidate is stopped: it belongs to the process that started it.
    """

    def __init__(
        self, settings: ElectionSettings, task: Callable[[Leadership], Any], runner: Runner = NATIVE
    ) -> None:
        self._settings = settings
        self._engine = settings.engine
        self._task = task
        self._pid = os.getpid()
        self._runner = runner
        self._thread: object = None  # the native or green thread that runs the task
        self._mutex = RLock()  # a signal handler may call stop()
        self._state: State = "standby"
        self._wait: Wait | None = None
        self._leadership: Leadership | None = None
        self._tenure: Tenure | None = None
        self._stop_requested = False
        self._exits = False
        self._outcome_known = False  # the candidate leads, or never will
        self._ended = False
        self._watchers = Watchers()

    @property
    def address(self) -> str:
        """The path of the lock's file, for messages."""
        return self._engine.address

    @property
    def state(self) -> State:
        """``"standby"``: waits for the lock, or for its backoff to end. ``"leading"``: holds the lock.

        ``"resigned"``: the task has returned, and the candidate gave the leadership up for good.
        ``"stopped"``: the candidate was stopped.
        """
        return self._state if self._pid == os.getpid() else "stopped"

    @property
    def is_leader(self) -> bool:
        """Whether this candidate holds the leadership now."""
        return self.state == "leading"

    @names_near_keyword
    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the candidate leads. In a coroutine the wait would block: raise `BlocksEventLoop`.

        Returns:
            True if the candidate leads, or has led and its task has returned; False after `timeout`
            seconds, or if the candidate was stopped.
        """
        longest_wait("timeout", timeout)
        if self._pid != os.getpid():
            return False
        if not self._outcome_known and timeout != 0:
            refuse_to_block("candidate.wait()", "write `await asyncio.to_thread(candidate.wait)`")
        is_known = self._watchers.until(lambda: self._outcome_known, timeout)
        return is_known and self.state in ("leading", "resigned")

    @names_near_keyword
    def stop(self, timeout: float | None = None) -> bool:
        """Ask the task to stop, wait for its end, and resign; a standby leaves the queue.

        The leadership is never given up while the task runs, or two tasks would run at a time.

        Returns:
            True when the candidate has stopped; False if the task still runs after `timeout` seconds
            (the candidate resigns when the task ends), or if the caller is the task itself.
        """
        longest_wait("timeout", timeout)
        if self._pid != os.getpid():
            return True
        self.ask_to_stop()
        # The system reuses the identifier of an ended thread: the caller's thread may have it now.
        if (self._thread == here() and not self._ended) or not self._until_ended(timeout):
            return False
        self._resign("stopped")  # a task that returned may have left the leadership held
        self._end("stopped")
        return True

    def _until_ended(self, timeout: float | None) -> bool:
        return self._watchers.until(lambda: self._ended, timeout if self._runner.can_wait() else 0)

    def _request_stop(self) -> None:
        self._stop_requested = True
        self._watchers.tell()

    def ask_to_stop(self) -> None:
        """Ask the task to stop, or leave the queue, and return at once; `stop` also waits."""
        self._request_stop()
        with self._mutex:
            leadership, wait = self._leadership, self._wait
        # Outside the mutex: a signal handler that calls stop() waits for our thread, which needs it.
        if leadership is not None:
            leadership._stopping.set()
        elif wait is not None:
            wait.cancel()

    def campaign(self, *, in_foreground: bool = False) -> Any:
        """Stand, lead, and stand again after a failure; return the task's result.

        Raises:
            LeaderLockError: the lock cannot be used, and `in_foreground` is set: this is the caller's
                own thread.
        """
        is_patched = type(_thread.start_new_thread) is not _BUILTIN
        self._thread = here() if is_patched else get_ident()
        failures = 0
        try:
            while not self._stop_requested:
                began = time.monotonic()
                # For speed: see "How it is built". This spares each standby and each leader a call.
                in_own_thread = self._runner.in_own_thread
                if in_own_thread:
                    leadership = self._stand(in_foreground)
                else:
                    stand = functools.partial(self._stand, in_foreground)
                    leadership = self._runner.wait(stand, self.ask_to_stop)
                if leadership is not None:
                    began = time.monotonic()
                    if in_own_thread:
                        finished, result = self._lead(leadership)
                    else:
                        lead = functools.partial(self._lead, leadership)
                        finished, result = self._runner.run(lead)
                    if finished:
                        return result
                first, most = self._settings.backoff
                pause = 0.0 if leadership is None else leadership._tenure.request.pause
                if pause or time.monotonic() - began > most:
                    failures = 0
                pause = max(min(first * 2**failures, most), pause)
                self._watchers.until(lambda: self._stop_requested, pause)
                failures = min(failures + 1, 60)
            return None
        except BaseException as error:
            self._abandon()  # the candidate may have won before its task began
            if in_foreground:
                raise
            if not isinstance(error, (SystemExit, HubIsGone)):  # SystemExit: the task ends its thread
                log().exception("the candidate for %s ended", self._engine.address)
            return None
        finally:
            if not self.is_leader:  # a leader's task has returned, and its candidate keeps the lock
                self._end("resigned" if self._state == "resigned" else "stopped")
            self._ended = True
            if self._exits:  # `stop_at_exit` may have looked before `_ended` was set: record it now
                self.note_exit()
            self._watchers.tell()
            if self._leadership is not None and self._leadership.lost:  # lost while the task returned
                self._on_lost()

    def _stand(self, in_foreground: bool) -> Leadership | None:
        """Wait for the lock and begin a term; None if the wait failed, or `stop` cancelled it."""
        wait = self._wait = Wait(self._settings.before_parking)
        if self._stop_requested:  # `stop` may have run before `_wait` was set
            return None
        switch = self._settings.switch
        make = self._engine.tenure
        tenure = self._tenure = make()
        try:
            if not tenure.stand(wait, lease=None if switch is None else switch.lease):
                return None
        except LeaderLockError as error:
            if in_foreground:
                raise
            log().error("cannot stand for election: %s", error)
            return None
        except Exception:  # such as an OSError of a call that is not expected to fail
            if in_foreground:
                raise
            log().exception("cannot stand for election by %s", self._engine.address)
            return None
        finally:
            self._wait = None
        leadership = Leadership(self._engine, tenure, switch)
        with self._mutex:
            self._leadership = leadership
            if not self._settings.is_rehearsal:
                note_leading(leadership)
            self._state = "leading"
        if end_notices and is_ending():
            self._stop_requested = True
        if self._stop_requested:  # requested after the lock was acquired
            self._resign("stopped")
            return None
        if switch is not None:
            try:
                switch.arm()
            except LeaderLockError as error:  # the candidate must not lead without its lease
                self._resign("standby", "failed")
                if in_foreground:
                    raise
                log().error("cannot lead %s: %s", self._engine.address, error)
                return None
        self._outcome_known = True
        if self._watchers:
            self._watchers.tell()
        return leadership

    def _lead(self, leadership: Leadership) -> tuple[bool, Any]:
        """Run the task for a term; return whether the candidate has finished, and the task's result."""
        context = set_current(leadership)
        in_own_thread = self._runner.in_own_thread
        if not in_own_thread:
            self._thread = here()
            leadership._thread = 0  # the hub's own thread must not watch the file
        try:
            if self._stop_requested:  # requested before the hub ran `_lead`
                self._resign("stopped")
                return True, None
            leadership._deferred = self
            if not leadership._takes_over:
                leadership._run_deferred_and_watch()
            elif not in_own_thread:
                # Runs when the task first yields to the hub.
                self._runner.spawn(leadership._run_deferred_and_watch)
            if self._settings.on_elected is not None:
                self._settings.on_elected(leadership)
            result = self._runner.call(self._task, leadership)
            leadership._run_deferred()
            self._runner.end_lease(leadership, self._on_lost)
        except Exception as error:  # noqa: BLE001  (any error of the task passes the leadership on)
            if not (leadership.lost and isinstance(error, LeadershipLost)):  # `_lose` has logged it
                log().exception(
                    "the task failed in term %d of %s; the leadership passes on",
                    leadership.term,
                    self._engine.address,
                )
            self._resign("standby", "lost" if leadership.lost else "failed")
            return False, None
        except BaseException:  # KeyboardInterrupt, SystemExit: this candidate ends
            self._resign("stopped")
            raise
        finally:
            current.reset(context)
        if leadership.lost or (leadership._tenure.request.asked and not self._stop_requested):
            self._resign("standby", "lost" if leadership.lost else leadership._tenure.request.how)
            return False, None
        if self._stop_requested:
            self._resign("stopped", leadership._tenure.request.how)
        elif self._settings.on_return == "resign":
            self._resign("resigned")
        else:
            leadership._tenure.request.refuse()
            leadership._run_deferred_and_watch()
        return True, result

    def _announce(self, leadership: Leadership) -> None:
        leadership._tenure.record_start()
        if not self._settings.is_rehearsal:
            self._runner.note_start()
            log().info("process %d leads %s, term %d", self._pid, self._engine.address, leadership.term)
            leadership._watch_for_loss(self._on_lost)
            leadership._tenure.request.accept()
            if self._settings.start_keeper is not None:
                self._settings.start_keeper()

    def __repr__(self) -> str:
        return f"<leaderlock.Candidate {self.state} for {self._engine.address!r}>"
