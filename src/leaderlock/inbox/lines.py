"""`PersistentReader`: lines from a FIFO that others write to, across their restarts and its own."""

from __future__ import annotations

import functools
import os
from contextlib import contextmanager
from typing import Generic, TypeVar

from leaderlock.kernel.eventloop import refuse_to_block
from leaderlock.kernel.fifo import DEFAULT_CAPACITY, Fifo
from leaderlock.kernel.green import hub_here
from leaderlock.kernel.offload import in_native_thread
from leaderlock.kernel.threads import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from leaderlock.election.leadership import Leadership
    from leaderlock.kernel.pipes import Bell, Front

T = TypeVar("T")


class Reading:
    """What one process has of a FIFO's reading end: one reader at a time, which can be called off."""

    def __init__(self, fifo: Fifo) -> None:
        self._fifo = fifo
        self._busy = allocate_lock()
        self._closed = False
        self._stopping: threading.Event | None = None
        self._bell: Bell | None = None
        self._rung_by: threading.Event | None = None

    @contextmanager
    def front(self, leadership: Leadership | None = None) -> Iterator[Front]:
        """Be the reader, until the leadership is to stop, if there is one.

        Raises:
            RuntimeError: there is a reader.
        """
        from leaderlock.kernel.pipes import Front  # noqa: PLC0415  (ctypes; an election has imported it)

        if not self._busy.acquire(False):
            raise RuntimeError(
                f"{self._fifo.path} is being read in this process already: two readers would take "
                f"each other's messages, so end the first loop before the next one"
            )
        try:
            self._stopping = None if leadership is None else leadership.stopping
            self._fifo.fileno()  # raises, if it was closed
            front = Front(self._fifo.fileno)
            try:
                yield front
            finally:
                front.close()
        finally:
            self._busy.release()
            if self._closed:
                self.close()

    def is_stopped(self) -> bool:
        """Whether the reader is to end."""
        return self._closed or (self._stopping is not None and self._stopping.is_set())

    def wait(self) -> None:
        """Wait until something is in the pipe or the reader is to end; no wakeups before that."""
        from leaderlock.kernel.pipes import Bell  # noqa: PLC0415  (`front` has imported it)

        refuse_to_block("receive()", "read in a thread: a plain function as the task has one")
        if self._bell is None or self._rung_by is not self._stopping or not self._bell.is_open():
            # One parked thread for each leadership, however many loops wait one after the other.
            self._bell, self._rung_by = Bell(), self._stopping
            if self._stopping is not None:
                self._bell.ring_when(self._stopping)
        if self.is_stopped():  # asked after the bell is in its place, where `close` looks for it
            return
        wait = functools.partial(self._bell.wait_beside, self._fifo.fileno())
        hub = hub_here()
        if hub is None:
            wait()
            return
        try:
            in_native_thread(hub, wait, self._bell.ring)
        except BaseException:  # the green thread was killed: the bell has rung, for good
            self._bell = None
            raise

    def close(self) -> None:
        """End the reader, also one that waits in another thread, and then close the descriptor."""
        self._closed = True
        if self._bell is not None:
            self._bell.ring()
        if self._busy.acquire(False):  # else the reader does it, when it ends
            self._fifo.close()
            self._busy.release()


class PerProcess(Generic[T]):
    """What each process has its own of, also after a fork that Python does not know of (uWSGI's)."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def __call__(self) -> T:
        """This process's own, made when it is first asked for."""
        pid = os.getpid()
        mine = self._made.get(pid)
        if mine is None:
            mine = self._made.setdefault(pid, self._make())  # the same for all threads
        return mine


class PersistentReader:
    """Reads lines from a FIFO that others write to (syslog, a program's log), across their restarts.

    Whoever has made the object holds the FIFO open for reading and writing: no reader sees end-of-file
    when a writer ends, and no writer gets SIGPIPE or waits in open(2) while nobody reads. Make it in
    every process that may come to read (or before the fork of a server), and read in the leader alone.

    A line is taken from the pipe when it is handed out, not before, so that a reader that ends, even by
    SIGKILL, leaves the other lines to the next one. Lost is the line that it had in hand, and what it
    had of a line without its end yet; the next reader then begins in the midst of that line.

    The path is not looked at again: who deletes and makes it anew talks to another pipe, until the
    reader is made anew, too. A forked child may use the object as well; its numbers begin at 0.

    Args:
        path: the FIFO; made if it is missing, in a directory that exists.
        mode: the permission bits of a new FIFO; the writers need write permission.
        capacity: bytes that wait in the pipe before its writers block (see `Inbox`).
        longest: bytes of a line, without its newline, from which on the rest of it is thrown away.

    Raises:
        UnsafeLockFile, LockFileUnusable, Unsupported, ValueError: as `Inbox` does.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o600,
        capacity: int = DEFAULT_CAPACITY,
        longest: int = 65536,
    ) -> None:
        if longest < 1:
            raise ValueError(f"longest must be a positive number of bytes, not {longest!r}")
        fifo = self._fifo = Fifo(path, mode, capacity)
        self._process_state = PerProcess(lambda: _Lines(Reading(fifo), longest))

    @property
    def path(self) -> str:
        """Where the FIFO lies."""
        return self._fifo.path

    @property
    def capacity(self) -> int:
        """Bytes that the pipe holds."""
        return self._fifo.capacity

    @property
    def pending(self) -> int:
        """Bytes that wait in the pipe."""
        return self._fifo.pending

    @property
    def received(self) -> int:
        """Lines that this process has been handed."""
        return self._process_state().received

    @property
    def truncated(self) -> int:
        """Lines among them that were longer than `longest`, and lost their ends."""
        return self._process_state().truncated

    def lines(self, leadership: Leadership | None = None) -> Iterator[bytes]:
        """Each line, without its newline; waits natively for the next one, without wakeups.

        Ends when the leadership is asked to stop or the reader is closed; what is still in the pipe
        stays there. A green thread of gevent or eventlet waits by its hub. Not for a coroutine, whose
        event loop it would stop.

        Raises:
            RuntimeError: a loop of this process reads already.
            ValueError: it was closed.
        """
        return self._process_state().read(leadership)

    def __iter__(self) -> Iterator[bytes]:
        return self.lines()

    def close(self) -> None:
        """Close it in this process, from any thread; a loop that waits ends."""
        self._process_state().reading.close()

    def __enter__(self) -> PersistentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lines:
    """One process's lines, and the beginning of one whose end has not been written yet."""

    def __init__(self, reading: Reading, longest: int) -> None:
        self.reading = reading
        self.received = 0
        self.truncated = 0
        self._longest = longest
        self._begun = bytearray()

    def read(self, leadership: Leadership | None) -> Iterator[bytes]:
        with self.reading.front(leadership) as front:
            while not self.reading.is_stopped():
                window = front.look()
                if not window:
                    self.reading.wait()
                    continue
                # What follows the last newline stays for the next look, unless it is all there is.
                sizes = [len(line) + 1 for line in window.split(b"\n")[:-1]] or [len(window)]
                for size in sizes:
                    if self.reading.is_stopped():
                        return
                    yield from self._ended_by(front.take(size))

    def _ended_by(self, taken: bytes) -> Iterator[bytes]:
        """The line that ends with these bytes; none or several only if others read as well."""
        *ends, rest = taken.split(b"\n")
        for end in ends:
            line = bytes(self._begun) + end
            self._begun.clear()
            self.received += 1
            self.truncated += len(line) > self._longest
            yield line[: self._longest]
        # One byte more than the longest, by which the end knows that it is too long.
        self._begun += rest[: self._longest + 1 - len(self._begun)]
