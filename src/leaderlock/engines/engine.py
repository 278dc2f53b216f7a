"""The interface between an election and its place: a file's flock, or a server for a fleet.

An election knows an `Engine` and, for each time that it stands, a `Tenure`; it knows no file, gate,
descriptor or connection. The engine has the queue: `Tenure.stand` blocks in it, without polling.

The owner stores a tenure before the tenure stands: a signal handler may raise between any two
instructions, so an object that the wait returned could be lost before it is stored. `finish` releases
whatever a tenure has, at any stage.
"""

from __future__ import annotations

from typing import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.kernel.event import NativeEvent
    from leaderlock.kernel.wait import Wait


class Engine(Protocol):
    """The place of elections.

    Attributes:
        address: the place of the election, for messages, without any password.
        session: seconds after which a silent holder is dropped; None if a holder is dropped only
            when its process ends.
    """

    @property
    def address(self) -> str:
        """The place of the election, for messages."""

    @property
    def session(self) -> float | None:
        """Seconds after which a silent holder is dropped, or None."""

    def require_usable(self) -> None:
        """Raise the errors that `Tenure.stand` would raise for the place, without waiting.

        Raises:
            LeaderLockError: the engine cannot be used.
        """

    def import_for_term(self) -> None:
        """Import what a term needs, since the package may be replaced before the term begins."""

    def tenure(self) -> Tenure:
        """A new tenure, which holds nothing yet."""

    def is_same(self, other: Engine) -> bool:
        """Whether both are the same election, so that one process stands in it once."""

    def is_called(self, name: str) -> bool:
        """Whether the election has this name, or this path."""


class Tenure(Protocol):
    """One time of standing, and the term that may follow. A tenure belongs to one process.

    Attributes:
        term: the fencing token; known once the tenure leads.
        since: the time of the election, in seconds since the epoch.
        takes_over: whether another process led until the election.
        request: the request of an operator to end the term.
    """

    @property
    def term(self) -> int:
        """The fencing token."""

    @property
    def since(self) -> float:
        """The time of the election, in seconds since the epoch."""

    @property
    def takes_over(self) -> bool:
        """Whether another process led until the election."""

    @property
    def request(self) -> Request:
        """The request of an operator."""

    def stand(
        self, wait: Wait | None, *, limit: float | None = None, lease: float | None = None
    ) -> bool:
        """Queue, and wait until elected; False if `wait` was cancelled or the limit has passed.

        Args:
            wait: allows another thread to cancel the wait.
            limit: the longest wait in seconds; None waits without limit, 0 does not wait.
            lease: the seconds within which the task must beat, for the record.

        Raises:
            LeaderLockError: the engine cannot be used.
        """

    def check(self) -> None:
        """Make sure that the tenure still leads.

        Raises:
            LeadershipLost: the tenure does not lead any more.
            LeaderLockError: the engine cannot tell at the moment.
        """

    def beat(self) -> None:
        """`check`; from time to time, also record that the leader lives, and look for a request.

        Raises:
            LeadershipLost: the tenure does not lead any more.
        """

    def look(self) -> None:
        """`check`, mend the record if others have overwritten it, and look for a request.

        Raises:
            LeadershipLost: the tenure does not lead any more.
            LeaderLockError: the engine cannot tell at the moment.
        """

    def watch(self, changed: Callable[[], object]) -> Watch:
        """A watch, not open yet, that calls `changed`, in any thread, after each possible change.

        Raises:
            ImportError: this Python cannot watch for changes.
        """

    def record_start(self) -> None:
        """Record the term in the history, unless it is there; deferred until the task runs."""

    def record_end(self, how: str) -> None:
        """Record in the history the reason for the term's coming end."""

    def end_lease(self) -> None:
        """Record that the task has returned, and that no further beats are due."""

    def resign(self, how: str) -> None:
        """Let the next candidate lead.

        Args:
            how: the reason for the end, for the history.

        Raises:
            NotHeld: the tenure has nothing to give up.
            LeaderLockError: the record could not be written; the next candidate still leads.
        """

    def finish(self) -> None:
        """Release whatever the tenure has; repeatable if interrupted."""


class Watch(Protocol):
    """Watches for changes: in an event loop, in `wait`, or in a thread of its own after `start`."""

    @property
    def has_thread(self) -> bool:
        """Whether the watch runs in a thread."""

    def open(self) -> None:
        """Begin to watch; the owner of the watch calls `end`, whatever is raised.

        Raises:
            OSError: the kernel does not report changes here.
            NotHeld: other code has closed the watched descriptor.
        """

    def fileno(self) -> int:
        """For an event loop: a descriptor that is readable after a possible change.

        Returns:
            The descriptor; -1 if a thread of the engine calls `changed` anyway.
        """

    def read(self) -> None:
        """For an event loop, once the descriptor is readable: call `changed`; never blocks."""

    def start(self) -> None:
        """Watch in a thread; RuntimeError if the system has no thread left."""

    def wait(self, event: NativeEvent, seconds: float | None) -> bool:
        """Watch until the event is set, or for some seconds; return whether the event is set."""

    def end(self) -> None:
        """End the watch."""


class Request(Protocol):
    """The request of an operator to end the term.

    Attributes:
        asked: whether a request was seen.
    """

    asked: bool

    @property
    def how(self) -> str:
        """The reason for the end of a term whose task has stopped, for the history."""

    @property
    def pause(self) -> float:
        """Seconds until this process may stand again."""

    def accept(self) -> None:
        """Announce that the leader accepts a request."""

    def refuse(self) -> None:
        """Announce that the task has returned: a request cannot stop the code that it started."""
