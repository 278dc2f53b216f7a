"""Sessions of an engine for tests: some lead, and some wait in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from leaderlock.engines import CalledOff, Claim, LeasedEngine, Session, Standing, Waiting, engine_of
from leaderlock.kernel.wait import Wait
from tests.processes import PATIENCE, until


def acquire(
    session: Session, waiting: Waiting, previous: Mapping[str, str | int] | None = None
) -> Claim:
    return waiting.run(lambda: session.acquire(waiting, previous))


class Sessions:
    """The sessions of one election, which `close` closes.

    Args:
        url: the election.
        lease: seconds.
        parked: how many candidates wait in the engine; more once a standby waits. None: `look` tells.
    """

    def __init__(self, url: str, lease: float, parked: Callable[[], int] | None = None) -> None:
        engine = engine_of(url, lease)
        assert isinstance(engine, LeasedEngine)
        self.engine = engine
        self.url = url
        self.parked = parked or (lambda: self.look().waiting or 0)
        self._sessions: list[Session] = []
        self._standbys: list[Standby] = []

    def session(self) -> Session:
        """A session that has done nothing yet."""
        session = self.engine.connect()
        self._sessions.append(session)
        return session

    def lead(self, previous: Mapping[str, str | int] | None = None) -> tuple[Session, Claim]:
        """A session that is elected at once."""
        session = self.session()
        return session, acquire(session, Waiting(None, 0), previous)

    def is_elected(self) -> bool:
        """Whether a candidate without patience is elected; it resigns then."""
        try:
            session, _ = self.lead()
        except CalledOff:
            return False
        session.resign()
        return True

    def standby(self) -> Standby:
        """A session that waits."""
        parked = self.parked()
        standby = self.start_standby()
        until(lambda: standby.has_ended or self.parked() > parked, "a candidate to wait")
        return standby

    def start_standby(self) -> Standby:
        """A session that stands, and may not wait yet."""
        standby = Standby(self.session())
        self._standbys.append(standby)
        return standby

    def look(self) -> Standing:
        """The election, as a new session sees it."""
        session = self.engine.connect()
        try:
            return session.look()
        finally:
            session.close()

    def close(self) -> None:
        for standby in self._standbys:
            standby.wait.cancel()
            standby.join()
        for session in self._sessions:
            session.close()


class Standby:
    """A session that waits in a thread.

    Attributes:
        session: used by the thread until it has a result.
        result: the claim, or an error.
        at: CLOCK_MONOTONIC when the wait ended.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.wait = Wait()
        self.result: Claim | BaseException | None = None
        self.at = 0.0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = acquire(self.session, Waiting(self.wait))
        except BaseException as error:  # noqa: BLE001  (the test's thread looks at it)
            self.result = error
        self.at = time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether there is a result."""
        return self.result is not None

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def claim(self) -> Claim:
        """The claim, once there is one."""
        self.join()
        assert isinstance(self.result, Claim), self.result
        return self.result

    def cancel(self) -> BaseException:
        """The error of the cancelled wait."""
        self.wait.cancel()
        self.join()
        assert isinstance(self.result, BaseException), self.result
        return self.result
