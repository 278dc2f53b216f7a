"""`Elections`: what engines tell of their elections, asked in the background while somebody looks.

An engine reports changes to candidates only, so it is asked again every two seconds. Each election has
a native thread and a connection of its own: an engine that does not answer delays no other one. The
thread ends, and its connection with it, when nobody has looked for some time.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from leaderlock.engines.catalogue import leased_engine_of
from leaderlock.errors import LeaderLockError
from leaderlock.history.fleet import history_from
from leaderlock.kernel.event import NativeEvent
from leaderlock.kernel.threads import allocate_lock, start_thread_without_signals
from leaderlock.status.fleet import status_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from leaderlock.engines.leased.engine import LeasedEngine
    from leaderlock.engines.leased.session import Session
    from leaderlock.history.reading import History
    from leaderlock.status.fleet import ElectionStatus

PAUSE = 2.0
"""Seconds between an answer and the next question."""

PATIENCE = 2.0
"""Seconds that the first look waits for an answer."""

_STALE = PAUSE + 4.0
"""Seconds after which an answer is not shown any more, if the engine does not answer again."""

_KEPT = 20.0
"""Seconds after the last look at which the connection is closed."""


class Answer(NamedTuple):
    """What is known of an election.

    Attributes:
        address: the URL, without any password.
        status: None if the engine does not answer.
        history: the last terms; None if they are not asked for, or the engine does not answer.
        problem: why there is no status, in one line; empty if there is one.
    """

    address: str
    status: ElectionStatus | None
    history: History | None
    problem: str


class Elections:
    """The elections of some URLs.

    A forked child begins without threads and connections.

    Args:
        urls: the URLs; their clients are imported now.
        with_history: whether to ask for the last terms as well.

    Raises:
        ValueError: a URL is incomplete.
        Unsupported: there is no engine for a URL, or its client is not installed.
    """

    def __init__(self, urls: Iterable[str], *, with_history: bool = False) -> None:
        engines = [leased_engine_of(url, without="does not tell who leads") for url in urls]
        self._followed = [_Followed(engine, with_history) for engine in engines]

    def look(self) -> list[Answer]:
        """The newest answers; waits at most `PATIENCE` for engines that have just been asked."""
        now = time.monotonic()
        problems = [followed.want(now) for followed in self._followed]
        return [
            Answer(followed.address, None, None, problem) if problem else followed.answer()
            for followed, problem in zip(self._followed, problems, strict=True)
        ]

    def tell(self, function: Callable[[], object] | None) -> None:
        """Have a function called in another thread at each change, or no longer."""
        for followed in self._followed:
            followed.set_listener(function)

    def end(self) -> None:
        """Close the connections; wait at most a second for that."""
        for followed in self._followed:
            followed.ask_to_end()
        until = time.monotonic() + 1.0
        for followed in self._followed:
            followed.ended.wait(until - time.monotonic())


class _Followed:
    """One election, and the thread that asks for it."""

    def __init__(self, engine: LeasedEngine, with_history: bool) -> None:
        self.address = engine.address
        self._engine = engine
        self._with_history = with_history
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = allocate_lock()
        self._tell: Callable[[], object] | None = None
        self._runs = False
        self._until = self._began = 0.0
        self._newest: tuple[float, Answer] | None = None
        self._first, self._over, self.ended = NativeEvent(), NativeEvent(), NativeEvent()
        self.ended.set()

    def want(self, now: float) -> str:
        """Have the engine asked from now on; return the reason if that cannot be."""
        if self._pid != os.getpid():
            self._begin()
        with self._mutex:
            self._until = now + _KEPT
            if self._runs and not self._over.is_set():
                return ""
            self._began, self._newest = now, None
            # Of this run alone: `_run` may still be at the end of an earlier one.
            self._first, self._over, self.ended = NativeEvent(), NativeEvent(), NativeEvent()
            try:
                start_thread_without_signals(self._run, self._first, self._over, self.ended)
            except LeaderLockError as error:  # the system has no thread left
                return f"{self.address}: {error}"
            self._runs = True
            return ""

    def set_listener(self, function: Callable[[], object] | None) -> None:
        """Call a function at each change; after the return, no earlier one is called any more."""
        with self._mutex:
            self._tell = function

    def answer(self) -> Answer:
        """The newest answer."""
        now = time.monotonic()
        self._first.wait(max(self._began + PATIENCE - now, 0.0))
        newest = self._newest
        if newest is None:
            return self._without(f"the engine has not answered within {PATIENCE:g} s")
        at, answer = newest
        age = time.monotonic() - at
        if answer.status is None:
            return answer
        if age > _STALE:
            return self._without(f"the engine does not answer any more, for more than {_STALE:g} s")
        ends = answer.status.ends
        if ends is None:
            return answer
        return answer._replace(status=answer.status._replace(ends=max(ends - age, 0.0)))

    def ask_to_end(self) -> None:
        """Let the thread end after its current question."""
        self._over.set()

    def _without(self, problem: str) -> Answer:
        return Answer(self.address, None, None, f"{self.address}: {problem}")

    def _run(self, first: NativeEvent, over: NativeEvent, ended: NativeEvent) -> None:
        session = self._engine.connect()
        try:
            while True:
                answer = self._ask(session)
                if answer.problem:
                    session.close()
                    session = self._engine.connect()
                self._store(answer)
                first.set()
                over.wait(PAUSE)
                if not self._goes_on(over):
                    break
        finally:
            session.close()
            ended.set()

    def _goes_on(self, over: NativeEvent) -> bool:
        with self._mutex:
            self._runs = not over.is_set() and time.monotonic() < self._until
            return self._runs

    def _ask(self, session: Session) -> Answer:
        try:
            standing = session.look()
            history = history_from(self._engine, session, standing) if self._with_history else None
        except LeaderLockError as error:
            return Answer(self.address, None, None, str(error))
        except Exception as error:  # noqa: BLE001  (an error of the client's, or of another program's data)
            return self._without(self._engine.location.hide(f"{type(error).__name__}: {error}"))
        return Answer(self.address, status_from(self._engine, standing), history, "")

    def _store(self, answer: Answer) -> None:
        before = self._newest
        self._newest = time.monotonic(), answer
        if before is None or _essence(before[1]) != _essence(answer):
            with self._mutex:
                if self._tell is not None:
                    self._tell()


def _essence(answer: Answer) -> object:
    """The answer without the part that changes with each renewal."""
    history = answer.history and answer.history.as_json()
    return answer.status and answer.status._replace(ends=None), history, answer.problem
