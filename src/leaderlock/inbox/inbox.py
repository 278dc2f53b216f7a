"""`Inbox`: a FIFO through which every worker sends whole messages to the leader."""

from __future__ import annotations

import os

from leaderlock.inbox.frames import PIPE_BUF, Drops, decoded, drops_note, frame, pieces
from leaderlock.inbox.lines import OverFifo, PerProcess, Reading
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.fifo import DEFAULT_CAPACITY, Fifo
from leaderlock.kernel.threads import RLock
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from leaderlock.election.leadership import Leadership
    from leaderlock.kernel.pipes import Front


class Inbox(OverFifo):
    """A FIFO that every worker holds open and sends to; the leader reads it.

    Messages sent while nobody reads wait in the pipe for the next leader, as long as any process holds
    the inbox open. If the server makes the inbox before it forks, messages also survive a time without
    workers. Forked children may use the object: the counters of each begin at 0.

    A message leaves the pipe when the leader's loop gets it, not earlier. So a killed leader loses at
    most the last message that it got; no message is torn, no message comes twice, and the messages of
    one sender stay in order (`tests/test_inbox.py` shows all three).

    Args:
        path: the FIFO's path; a missing FIFO is made, in an existing directory.
        mode: the permission bits of a new FIFO. Users with write permission can send.
        capacity: bytes that the pipe is to hold. A user without the right to more than
            ``/proc/sys/fs/pipe-max-size`` (1 MiB by default) gets the largest pipe allowed: see the
            property `capacity`. Messages do not use all of it: none is split between two pages (4096).

    Raises:
        UnsafeLockFile: the path is a symlink, is no FIFO, or belongs to neither this user nor root.
        LockFileUnusable: the system refused (no such directory, no permission); also an `OSError`.
        Unsupported: this is not Linux.
        TypeError, ValueError: an argument has a wrong type or value.
    """

    @names_near_keyword
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int = 0o600,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        fifo = self._fifo = Fifo(path, mode, capacity)
        self._process_state = PerProcess(lambda: _Use(Reading(fifo)))

    @property
    def sent(self) -> int:
        """Messages that this process has put into the pipe."""
        return self._process_state().sent

    @property
    def dropped(self) -> int:
        """Messages that this process dropped because the pipe was full."""
        return self._process_state().dropped

    @property
    def received(self) -> int:
        """Messages that this process has received."""
        return self._process_state().received

    @property
    def malformed(self) -> int:
        """Pieces in the pipe that were no messages: this process discarded and logged them."""
        return self._process_state().malformed

    @property
    def drops_reported(self) -> int:
        """Messages that all processes dropped: each sender reports its number with its next message."""
        return self._process_state().drops_reported

    def fileno(self) -> int:
        """The descriptor: poll(2) returns POLLOUT when the pipe has room again."""
        return self._fifo.fileno()

    def send(self, message: object) -> bool:
        r"""Put a message for the leader into the pipe; never blocks; from any thread or greenlet.

        Args:
            message: bytes (at most 3069), or a value whose JSON has at most 4094 bytes, without blanks
                and with ``\u`` escapes for other characters than ASCII.

        Returns:
            False if the pipe is full: the message is dropped and counted.

        Raises:
            ValueError: the message is too large or holds NaN or an infinity, or the inbox was closed.
            TypeError: the message has a type that JSON does not know.
        """
        data = frame(message)
        fd = self._fifo.fileno()
        here = self._process_state()
        with here.mutex:
            unreported_drops, here.unreported_drops = here.unreported_drops, 0
            note = drops_note(unreported_drops) if unreported_drops else b""
            if len(note) + len(data) > PIPE_BUF:  # a later, shorter message takes the note
                here.unreported_drops, note = unreported_drops, b""
            try:
                os.write(fd, note + data)
            except BlockingIOError:
                here.dropped += 1
                here.unreported_drops = unreported_drops + 1
                return False
            here.sent += 1
            return True

    @names_near_keyword
    def receive(self, leadership: Leadership | None = None) -> Iterator[object]:
        """Yield each message as it arrives; waits for the next one in native code, without wakeups.

        Ends when the leadership is asked to stop, or the inbox is closed; messages still in the pipe
        wait for the next leader. Only the leader may call this, and not in a coroutine, whose event
        loop would stop; a green thread of gevent or eventlet waits through its hub. This loop does not
        beat: a leader with a lease calls `drain` at each tick instead.

        Raises:
            RuntimeError: another loop of this process receives already.
            ValueError: the inbox was closed.
        """
        here = self._process_state()
        with here.reading.front(leadership) as front:
            while not here.reading.is_stopped():
                yield from here.messages(front, self.path)
                if not here.reading.is_stopped():
                    here.reading.wait()

    def drain(self) -> Iterator[object]:
        """Yield each message that waits now; never blocks.

        Ends when the pipe is empty, or after as many bytes as waited at the start, so that busy senders
        cannot prolong the loop.

        Raises:
            RuntimeError, ValueError: as `receive` does.
        """
        here = self._process_state()
        with here.reading.front() as front:
            end = here.taken + self.pending
            while here.taken < end and not here.reading.is_stopped() and self.pending:
                yield from here.messages(front, self.path)

    def close(self) -> None:
        """Close the inbox in this process, from any thread; a loop that waits ends."""
        self._process_state().reading.close()

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<leaderlock.Inbox {self.path!r}>"


class _Use:
    """The counters and the reading end of one process."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.mutex = RLock()  # reentrant: a signal handler may send as well
        self.sent = self.dropped = self.unreported_drops = 0
        self.received = self.malformed = self.drops_reported = self.taken = 0

    def messages(self, front: Front, path: str) -> Iterator[object]:
        """Yield the messages that one look at the pipe shows; take each from the pipe just before."""
        for piece, content in pieces(front.look()):
            if self.reading.is_stopped():
                return
            taken = front.take(len(piece))
            self.taken += len(piece)
            if taken != piece:
                self._throw_away(taken, f"another process reads from {path} as well")
                return
            try:
                if content is None:
                    raise ValueError("no whole frame")
                message = decoded(content)
            except ValueError:
                self._throw_away(piece, f"{path} held what no inbox has sent")
                continue
            if isinstance(message, Drops):
                self.drops_reported += message
            else:
                self.received += 1
                yield message

    def _throw_away(self, piece: bytes, reason: str) -> None:
        self.malformed += 1
        if self.malformed & (self.malformed - 1) == 0:  # the 1st, 2nd, 4th, 8th …: no flood
            log().warning("%s (%d times so far): %.80r", reason, self.malformed, piece)
