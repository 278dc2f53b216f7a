"""The seam between an election and its place: a file's flock here, a server of a fleet elsewhere.

An election knows an `Engine` and, for each time that it stands, a `Tenure`; it knows no file, gate,
descriptor or connection. The queue is the engine's: `Tenure.stand` blocks in it, without polling.

A tenure is made before it stands, and its owner keeps it first: a signal handler may raise between any
two instructions, so an object that came back from the wait could be lost on its way. `finish` lets go
of whatever a tenure has, however far it has come.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from leaderlock.kernel.event import NativeEvent
    from leaderlock.kernel.flock import Wait

    class Engine(Protocol):
        """What elections are held in.

        Attributes:
            address: the place of the election, for messages; it has no password in it.
            session: seconds after which a silent holder is dropped; None if it is dropped when its
                process ends, and no sooner.
        """

        @property
        def address(self) -> str:
            """The place, for messages."""

        @property
        def session(self) -> float | None:
            """Seconds, or None."""

        def require_usable(self) -> None:
            """Raise what `Tenure.stand` would raise for the place, without waiting for anything.

            Raises:
                LeaderLockError: the engine cannot be used.
            """

        def tenure(self) -> Tenure:
            """A new tenure, which has nothing yet."""

        def is_same(self, other: Engine) -> bool:
            """Whether both are the same election, so that one process stands in it once."""

        def is_called(self, name: str) -> bool:
            """Whether the election has this name, or this path."""

    class Tenure(Protocol):
        """One time of standing, and the term that may come of it. It belongs to one process.

        Attributes:
            term: the fencing token; known once it leads.
            since: when it was elected, in seconds since the epoch.
            takes_over: whether somebody else led until then.
            engine: what it stands in.
            request: the request of an operator to end the term.
        """

        @property
        def term(self) -> int:
            """The fencing token."""

        @property
        def since(self) -> float:
            """When it was elected."""

        @property
        def takes_over(self) -> bool:
            """Whether somebody else led until then."""

        @property
        def engine(self) -> Engine:
            """What it stands in."""

        @property
        def request(self) -> Request:
            """The request of an operator."""

        def stand(
            self, wait: Wait | None, *, limit: float | None = None, lease: float | None = None
        ) -> bool:
            """Queue, and wait until it leads; False if `wait` was called off or the limit has passed.

            Args:
                wait: another thread can call it off.
                limit: the longest wait in seconds; None without end, 0 for none at all.
                lease: the seconds within which the task must beat, for the record.

            Raises:
                LeaderLockError: the engine cannot be used.
            """

        def check(self) -> None:
            """Make sure that it still leads.

            Raises:
                LeadershipLost: it does not.
                LeaderLockError: that is not known just now.
            """

        def beat(self) -> None:
            """`check`; and, now and then, record that the leader lives, and look for a request.

            Raises:
                LeadershipLost: it leads no more.
            """

        def look(self) -> None:
            """`check`, mend the record if others have overwritten it, and look for a request.

            Raises:
                LeadershipLost: it leads no more.
                LeaderLockError: that is not known just now.
            """

        def watch(self, changed: Callable[[], object]) -> Watch:
            """What tells of changes: `changed` is to look. It is not open yet.

            Raises:
                ImportError: this Python cannot hear of changes.
            """

        def record_start(self) -> None:
            """Note the term in the history, if that is not done; put off until the task runs."""

        def record_end(self, how: str) -> None:
            """Note in the history how the term is about to end."""

        def end_lease(self) -> None:
            """Note that the task has returned, and that nobody beats from here on."""

        def resign(self, how: str) -> None:
            """Let the next one lead.

            Args:
                how: what the history says of the end.

            Raises:
                NotHeld: it has nothing to give up.
                LeaderLockError: the record could not be written; the next one leads all the same.
            """

        def finish(self) -> None:
            """Let go of whatever it has; again, if that was broken off."""

    class Watch(Protocol):
        """Hears of changes: in `wait`, or in a thread of its own after `start`."""

        @property
        def has_thread(self) -> bool:
            """Whether it hears of changes in a thread."""

        def open(self) -> None:
            """Begin to hear of changes; whoever has made this calls `end`, whatever is raised.

            Raises:
                OSError: the kernel does not tell here.
                NotHeld: other code has closed what is watched.
            """

        def start(self) -> None:
            """Hear of changes in a thread; RuntimeError if the system has none left."""

        def wait(self, event: NativeEvent, seconds: float | None) -> bool:
            """Wait for the event, or for some seconds, and hear of changes; whether it is set."""

        def end(self) -> None:
            """Hear no more."""

    class Request(Protocol):
        """The request of an operator to end the term.

        Attributes:
            asked: whether one was seen.
        """

        asked: bool

        @property
        def how(self) -> str:
            """What the history says of the end of a term whose task has stopped."""

        @property
        def pause(self) -> float:
            """Seconds until this process may stand again."""

        def accept(self) -> None:
            """Say that a request is heeded."""

        def refuse(self) -> None:
            """Say that the task has returned: what it started cannot be stopped by a request."""
