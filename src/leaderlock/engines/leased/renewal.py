"""The thread that renews a claim every quarter of its lease, and moves the deadline of the process.

Before each renewal it asks the engine something else, and waits for the answer. If only the answers are
lost on their way, the engine would count the lease from a renewal of which the leader knows nothing: it
would drop a leader later than the leader dies. So a leader that hears nothing sends no renewal.
"""

from __future__ import annotations

import os
import time

from leaderlock.errors import EngineUnreachable, LeadershipLost
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import get_ident, start_thread_without_signals
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Session

RENEWALS = 4
"""Renewals in the time of a lease."""

_PAUSE = 0.02
"""The part of a lease between a failed renewal and the next try."""


class Renewal:
    """Renews a claim in a native thread of its own, until `end` or a loss.

    Args:
        engine: the engine, for its lease and for messages.
        session: used by this thread alone until `end` has returned.
        confirmed: CLOCK_MONOTONIC when the request that made the claim was sent.
        move: moves the deadline of this process to a moment of CLOCK_MONOTONIC.

    Attributes:
        confirmed: CLOCK_MONOTONIC when the last confirmed request was sent.
        lost: the reason for the loss; empty as long as the claim stands.
        has_ended: whether `end` was called.
    """

    def __init__(
        self,
        engine: LeasedEngine,
        session: Session,
        confirmed: float,
        move: Callable[[float], object],
    ) -> None:
        self.confirmed = confirmed
        self.lost = ""
        self._engine = engine
        self._session = session
        self._move = move
        self._over, self._ended = NativeEvent(), NativeEvent()
        self._thread = 0
        self._is_cut_off = False

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called."""
        return self._over.is_set()

    def start(
        self,
        first: Callable[[], object],
        ask: Callable[[], object],
        tell: Callable[[], object],
    ) -> None:
        """Start the thread.

        Args:
            first: called in the thread once, before the first renewal; its errors do not matter.
            ask: asks the engine something, before each renewal; only no answer at all matters.
            tell: called in the thread after a loss.

        Raises:
            RuntimeError: the system has no thread left.
        """
        started: list[int] = []
        try:
            start_thread_without_signals(self._run, first, ask, tell, started=started)
        except BaseException:
            if not started:
                self._ended.set()
            raise

    def _run(
        self,
        first: Callable[[], object],
        ask: Callable[[], object],
        tell: Callable[[], object],
    ) -> None:
        self._thread = get_ident()
        try:
            self._try(first)
            pause = self._until_next()
            while not self._over.wait(pause):
                pause = self._renew(ask)
                if self.lost:
                    break
        finally:
            self._ended.set()
        if self.lost and not self._over.is_set():
            tell()

    def _until_next(self) -> float:
        return max(self.confirmed + self._engine.session / RENEWALS - time.monotonic(), 0.0)

    def _renew(self, ask: Callable[[], object]) -> float:
        """Renew the claim; return the seconds until the next try."""
        try:
            self._try(ask, EngineUnreachable)
            sent = self._session.renew()
        except LeadershipLost as error:
            self.lost = f"{self._engine.address}: {error}"
            return 0.0
        except Exception as error:  # noqa: BLE001  (any other error: whether the claim stands is not known)
            if not self._is_cut_off:
                self._is_cut_off = True
                left = self.confirmed + self._engine.life - time.monotonic()
                log().warning(
                    "%s: the lease could not be renewed (%s); process %d ends in %.1f s unless a later "
                    "try succeeds",
                    self._engine.address,
                    self._engine.location.hide(f"{type(error).__name__}: {error}"),
                    os.getpid(),
                    left,
                )
            return _PAUSE * self._engine.session
        if not self._over.is_set():
            self.confirmed = sent
            self._move(sent + self._engine.life)
        if self._is_cut_off:
            self._is_cut_off = False
            log().warning("%s: the lease is renewed again", self._engine.address)
        return self._until_next()

    def _try(self, function: Callable[[], object], *matter: type[Exception]) -> None:
        try:
            function()
        except matter:
            raise
        except Exception as error:  # noqa: BLE001  (the next renewal shows whether the claim stands)
            log().debug("%s: %s", self._engine.address, self._engine.location.hide(str(error)))

    def ask_to_end(self) -> None:
        """Let the thread end when its current renewal has ended."""
        self._over.set()

    def end(self) -> None:
        """End the thread. On return, no thread but the caller's uses the session."""
        self._over.set()
        if self._thread != get_ident():
            self._ended.wait()
