"""`LeasedTenure`: one time of standing in an engine on the network, and the term that may follow.

The order of the events makes a lost link safe. The kernel's deadline of this process is set from the
moment at which the last confirmed request was *sent*. The engine counts the same lease from the arrival
of that request, and lets another candidate lead only afterwards. So a leader that the engine may have
dropped is dead first, whether it is cut off, stopped or stuck. After a loss that the engine reports
earlier, the task is asked to stop, and the deadline stays set until the task has returned.
"""

from __future__ import annotations

import functools
import time

from leaderlock.engines.leased import deadline
from leaderlock.engines.leased.loss import LossWatch
from leaderlock.engines.leased.notes import History, Request
from leaderlock.engines.leased.renewal import Renewal
from leaderlock.engines.leased.waiting import CalledOff, Waiting
from leaderlock.errors import EngineUnreachable, LeaderLockError, LeadershipLost, NotHeld
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Claim, Session
    from leaderlock.kernel.wait import Wait

USABLE = 0.8
"""The part of a lease within which a claim must be known here: what is left is time to renew."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.1
"""Parts of a lease between two tries to reach an engine: candidates come back soon after the engine."""


class LeasedTenure:
    """A turn in an engine; see `Tenure`.

    Attributes:
        since: see `Tenure.since`.
        request: see `Tenure.request`.
        waited: seconds from the beginning of the wait to the election.
    """

    def __init__(self, engine: LeasedEngine) -> None:
        self.since = 0.0
        self.waited = 0.0
        self.request = Request(engine)
        self._engine = engine
        self._session: Session | None = None
        self._claim: Claim | None = None
        self._deadline = deadline.Deadline()
        self._renewal: Renewal | None = None
        self._history: History | None = None
        self._watches: list[Callable[[], object]] = []
        self._has_returned = False

    @property
    def term(self) -> int:
        """See `Tenure.term`."""
        return self._led().term

    @property
    def takes_over(self) -> bool:
        """See `Tenure.takes_over`."""
        return self._led().takes_over

    @property
    def confirmed(self) -> float:
        """CLOCK_MONOTONIC when the last confirmed request was sent; the lease runs from there."""
        return self._led().confirmed if self._renewal is None else self._renewal.confirmed

    @property
    def claim(self) -> Claim:
        """The proof by which another process of this machine takes the session over."""
        return self._led()

    def _led(self) -> Claim:
        if self._claim is None:
            raise NotHeld(f"this process has not been elected in {self._engine.address}")
        return self._claim

    def stand(
        self,
        wait: Wait | None,
        *,
        limit: float | None = None,
        lease: float | None = None,
        previous: Mapping[str, str | int] | None = None,
    ) -> bool:
        """See `Tenure.stand`.

        Args:
            wait: allows another thread to cancel the wait.
            limit: the longest wait in seconds; None waits without limit, 0 does not wait.
            lease: the seconds within which the task must beat.
            previous: the proof of a claim whose process is dead: take over at once.

        Raises:
            EngineUnreachable: the engine does not answer, and there is a limit; without a limit, this
                is logged and tried again.
            EngineUnusable: the engine refuses.
            Unsupported: the kernel cannot kill this process.
        """
        deadline.require_timer()
        began = time.monotonic()
        waiting = Waiting(wait, limit)
        try:
            self._claim = waiting.run(functools.partial(self._acquire, waiting, previous))
        except CalledOff:
            self._drop()
            return False
        self.waited = time.monotonic() - began
        self.since = time.time()
        return True

    def _acquire(self, waiting: Waiting, previous: Mapping[str, str | int] | None) -> Claim:
        """Stand until a claim is known here in good time; set the deadline, and begin to renew."""
        lease = self._engine.session
        pause = _FIRST_PAUSE * lease
        while True:
            session = self._session = self._engine.connect()
            try:
                claim = session.acquire(waiting, previous)
                if time.monotonic() <= claim.confirmed + USABLE * lease:
                    self._begin(session, claim)
                    return claim
                log().warning(
                    "%s: the answer to a candidate came too late for its lease of %g s: standing again",
                    self._engine.address,
                    lease,
                )
                session.resign()
                pause = _FIRST_PAUSE * lease
            except EngineUnreachable as error:
                if waiting.is_limited:
                    raise
                log().warning("%s; trying again in %g s", error, pause)
            except LeadershipLost as error:  # a place in the queue that the engine has dropped
                log().warning("%s: %s; standing again", self._engine.address, error)
            finally:
                if self._renewal is None:
                    session.close()
            waiting.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE * lease)

    def _begin(self, session: Session, claim: Claim) -> None:
        self._deadline.move(claim.confirmed + self._engine.life)
        self._history = History(self._engine, session, claim)
        self._renewal = Renewal(self._engine, session, claim.confirmed, self._deadline.move)
        self._renewal.start(self._history.record_start, self._look_for_request, self._tell)

    def _look_for_request(self) -> None:
        session, claim = self._session, self._claim
        if session is not None and claim is not None and self.request.heed(session, claim.term):
            self._tell()
        if self.request.holds and self._history is not None:
            self._history.record_holding()

    def _tell(self) -> None:
        """In the renewal's thread: the term was lost, or an operator has asked for its end."""
        for changed in list(self._watches):
            changed()

    def check(self) -> None:
        """See `Tenure.check`; the answer comes from the last renewal."""
        renewal = self._renewal
        if renewal is None or renewal.has_ended:
            raise LeadershipLost(f"term {self._led().term} of {self._engine.address} is over")
        if renewal.lost:
            raise LeadershipLost(renewal.lost)
        if time.monotonic() > renewal.confirmed + self._engine.life:  # the deadline comes as well
            raise LeadershipLost(f"the lease of {self._engine.address} has passed without a renewal")

    beat = check
    """See `Tenure.beat`; a thread of its own renews the lease."""

    look = check
    """See `Tenure.look`."""

    def watch(self, changed: Callable[[], object]) -> LossWatch:
        """See `Tenure.watch`."""
        return LossWatch(self._watches, changed)

    def record_start(self) -> None:
        """See `Tenure.record_start`; the renewal's thread has done so."""

    def record_end(self, how: str) -> None:
        """See `Tenure.record_end`."""
        if self._history is not None:
            self._history.ends = how

    def end_lease(self) -> None:
        """See `Tenure.end_lease`: the task has returned, and the process keeps the leadership."""
        self._has_returned = True

    def resign(self, how: str) -> None:
        """See `Tenure.resign`.

        After a loss, the process of a task that has returned and left the leadership held is not saved:
        nobody can stop the code that the task has started, so the deadline ends it.
        """
        session, renewal = self._session, self._renewal
        if session is None or renewal is None or renewal.has_ended:
            raise NotHeld(f"term {self._led().term} of {self._engine.address} is over")
        if renewal.lost and self._has_returned:
            log().critical(
                "%s: the task has returned, and the code that it started cannot be stopped: this "
                "process ends at the end of its lease",
                self._engine.address,
            )
            return
        self._end_renewal(renewal)
        try:
            if not renewal.lost:
                if self._history is not None:
                    self._history.record_end(how)
                session.resign()
        except LeadershipLost:
            return
        except Exception as error:
            if isinstance(error, LeaderLockError):
                raise
            raise EngineUnreachable(
                f"{self._engine.address}: the engine could not be told of the resignation "
                f"({self._engine.location.hide(str(error))}); the next candidate leads when the lease "
                f"has passed"
            ) from error
        finally:
            session.close()

    def _end_renewal(self, renewal: Renewal) -> None:
        renewal.ask_to_end()
        self._deadline.stop()  # the task has returned: nothing is to be killed
        renewal.end()
        self._deadline.stop()  # the last renewal may have moved it

    def leave(self, how: str) -> None:
        """End the term here, and let the claim stand for another process of this machine.

        Args:
            how: the reason for the end, for the history.
        """
        session, renewal = self._session, self._renewal
        if session is None or renewal is None or renewal.has_ended:
            return
        self._end_renewal(renewal)
        try:
            if self._history is not None:
                self._history.record_end(how)
            session.leave()
        except Exception as error:  # noqa: BLE001  (the claim stands, with or without an entry)
            log().debug("%s: %s", self._engine.address, self._engine.location.hide(str(error)))
        finally:
            session.close()

    def finish(self) -> None:
        """See `Tenure.finish`."""
        if self._renewal is not None and not self._renewal.has_ended:
            try:
                self.resign("failed")
            except LeaderLockError as error:
                log().warning("%s", error)
        elif self._renewal is None:
            self._drop()

    def _drop(self) -> None:
        self._deadline.stop()
        if self._session is not None:
            self._session.close()
