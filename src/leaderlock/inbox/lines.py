"""`PersistentReader`: lines from a FIFO, across restarts of its writers and of the reader."""

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
    """The reading end of a FIFO in one process: one reader at a time, which can be cancelled."""

    def __init__(self, fifo: Fifo) -> None:
        self._fifo = fifo
        self._busy = allocate_lock()
        self._closed = False
        self._stopping: threading.Event | None = None
        self._bell: Bell | None = None
        self._rung_by: threading.Event | None = None

    @contextmanager
    def front(self, leadership: Leadership | None = None) -> Iterator[Front]:
        """Become the reader, until the given leadership is asked to stop.

        Raises:
            RuntimeError: this process has a reader already.
        """
        from leaderlock.kernel.pipes import Front  # noqa: PLC0415  (ctypes; an election has imported it)

        if not self._busy.acquire(False):
            raise RuntimeError(
                f"{self._fifo.path} is being read in this process already: two readers would take "
                f"each other's messages, so end the first loop before the next one"
            )
        try:
            self._stopping = None if leadership is None else leadership.stopping
            self._fifo.fileno()  # raises if the FIFO was closed
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
        """Whether the reader must end."""
        return self._closed or (self._stopping is not None and self._stopping.is_set())

    def wait(self) -> None:
        """Wait until the pipe has content or the reader must end; no wakeups before."""
        from leaderlock.kernel.pipes import Bell  # noqa: PLC0415  (`front` has imported it)

        refuse_to_block("receive()", "read in a thread: a plain function as the task has one")
        if self._bell is None or self._rung_by is not self._stopping or not self._bell.is_open():
            # One parked thread for each leadership, which all its loops share, one after the other.
            self._bell, self._rung_by = Bell(), self._stopping
            if self._stopping is not None:
                self._bell.ring_when(self._stopping)
        if self.is_stopped():  # checked after `_bell` is set, since `close` rings that bell
            return
        wait = functools.partial(self._bell.wait_beside, self._fifo.fileno())
        hub = hub_here()
        if hub is None:
            wait()
            return
        try:
            in_native_thread(hub, wait, self._bell.ring)
        except BaseException:  # the green thread was killed: the bell has rung and cannot be used again
            self._bell = None
            raise

    def close(self) -> None:
        """End the reader, even if it waits in another thread, and then close the descriptor."""
        self._closed = True
        if self._bell is not None:
            self._bell.ring()
        if self._busy.acquire(False):  # otherwise the reader closes it when it ends
            self._fifo.close()
            self._busy.release()


class PerProcess(Generic[T]):
    """An object of its own for each process, also after a fork that bypasses Python (uWSGI's)."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def __call__(self) -> T:
        """This process's object, made at the first call."""
        pid = os.getpid()
        mine = self._made.get(pid)
        if mine is None:
            mine = self._made.setdefault(pid, self._make())  # the same for all threads
        return mine


class OverFifo:
    """What an `Inbox` and a `PersistentReader` tell of their FIFO."""

    _fifo: Fifo

    @property
    def path(self) -> str:
        """The FIFO's path."""
        return self._fifo.path

    @property
    def capacity(self) -> int:
        """Bytes that the pipe can hold."""
        return self._fifo.capacity

    @property
    def pending(self) -> int:
        """Bytes that wait in the pipe, including the frames of messages."""
        return self._fifo.pending


class PersistentReader(OverFifo):
    """Reads lines from a FIFO of other programs (syslog, a program's log), across their restarts.

    The process that makes the object holds the FIFO open for reading and writing: no reader gets
    end-of-file when a writer ends, and no writer gets SIGPIPE, or waits in open(2) for a reader. Make
    the object in every process that may read (or before the server forks), and read in the leader only.

    A line leaves the pipe when the caller's loop gets it, not earlier: when a reader ends, even by
    SIGKILL, the next reader gets the other lines. Only the reader's current line is lost, and the
    beginning of a line whose end was not written yet: the next reader starts inside that line.

    The path is opened once: if another program deletes the FIFO and makes a new one, a new reader must
    be made too. A forked child may use the object as well; its counters begin at 0.

    Args:
        path: the FIFO's path; a missing FIFO is made, in an existing directory.
        mode: the permission bits of a new FIFO; the writers need write permission.
        capacity: bytes that wait in the pipe before its writers block (see `Inbox`).
        longest: the most bytes of a line, without its newline; the rest of a longer line is discarded.

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
    def received(self) -> int:
        """Lines that this process has received."""
        return self._process_state().received

    @property
    def truncated(self) -> int:
        """Received lines that were longer than `longest`, and lost their ends."""
        return self._process_state().truncated

    def lines(self, leadership: Leadership | None = None) -> Iterator[bytes]:
        """Yield each line, without its newline; waits for the next in native code, without wakeups.

        Ends when the leadership is asked to stop or the reader is closed; lines still in the pipe stay
        there. A green thread of gevent or eventlet waits through its hub. Do not call this in a
        coroutine, whose event loop would stop.

        Raises:
            RuntimeError: another loop of this process reads already.
            ValueError: the reader was closed.
        """
        return self._process_state().read(leadership)

    def __iter__(self) -> Iterator[bytes]:
        return self.lines()

    def close(self) -> None:
        """Close the reader in this process, from any thread; a loop that waits ends."""
        self._process_state().reading.close()

    def __enter__(self) -> PersistentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lines:
    """The lines of one process, and the beginning of a line whose end has not been written yet."""

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
                # Bytes after the last newline stay for the next look, unless there is no newline.
                sizes = [len(line) + 1 for line in window.split(b"\n")[:-1]] or [len(window)]
                for size in sizes:
                    if self.reading.is_stopped():
                        return
                    yield from self._ended_by(front.take(size))

    def _ended_by(self, taken: bytes) -> Iterator[bytes]:
        """Yield the line that ends with these bytes; several only if other processes read too."""
        *ends, rest = taken.split(b"\n")
        for end in ends:
            line = bytes(self._begun) + end
            self._begun.clear()
            self.received += 1
            self.truncated += len(line) > self._longest
            yield line[: self._longest]
        # Keep one byte more than the longest, so that the line's end shows that the line is too long.
        self._begun += rest[: self._longest + 1 - len(self._begun)]
