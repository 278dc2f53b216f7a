"""`Inbox`: a FIFO through which every worker speaks to the leader, and no message is ever torn."""

from __future__ import annotations

import os

from leaderlock.inbox.frames import PIPE_BUF, Drops, decoded, drops_note, frame, pieces
from leaderlock.inbox.lines import PerProcess, Reading
from leaderlock.kernel.fifo import DEFAULT_CAPACITY, Fifo
from leaderlock.kernel.threads import RLock
from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from leaderlock.election.leadership import Leadership
    from leaderlock.kernel.pipes import Front


class Inbox:
    """A FIFO that every worker holds open and sends to, and in which the leader reads.

    What was sent while nobody reads waits in the pipe for the next leader, as long as any process holds
    the inbox open. Made before the fork of a server, the pipe also outlives a time without workers.
    Forked children may use the object: each counts from 0.

    A message is taken from the pipe when it is handed out, not before. So a leader that is killed loses
    at most the one message that it was handed last; none is torn, none comes twice, and those of one
    sender stay in order (`tests/test_inbox.py` shows it).

    Args:
        path: where the FIFO lies; it is made if it is missing, in a directory that exists.
        mode: the permission bits of a new one. Whoever may write to it can send.
        capacity: bytes that the pipe is to hold. Without the right to more than
            ``/proc/sys/fs/pipe-max-size`` (1 MiB by default), it gets as large as it may; `capacity`
            tells. Messages fill pages of 4096 bytes to the last that fits.

    Raises:
        UnsafeLockFile: the path is a symlink, no FIFO, or neither ours nor root's.
        LockFileUnusable: the system refused (no such directory, no permission); also an `OSError`.
        Unsupported: this is not Linux.
        ValueError: an argument is not of its form.
    """

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
    def path(self) -> str:
        """Where the FIFO lies."""
        return self._fifo.path

    @property
    def capacity(self) -> int:
        """Bytes that the pipe holds."""
        return self._fifo.capacity

    @property
    def pending(self) -> int:
        """Bytes that wait in the pipe, frames and all."""
        return self._fifo.pending

    @property
    def sent(self) -> int:
        """Messages that this process has put into the pipe."""
        return self._process_state().sent

    @property
    def dropped(self) -> int:
        """Messages of this process that found the pipe full."""
        return self._process_state().dropped

    @property
    def received(self) -> int:
        """Messages that this process has been handed."""
        return self._process_state().received

    @property
    def malformed(self) -> int:
        """Pieces in the pipe that were no messages: this process threw them away, and logged it."""
        return self._process_state().malformed

    @property
    def drops_reported(self) -> int:
        """Messages that found the pipe full, in all processes: each tells with its next message."""
        return self._process_state().drops_reported

    def fileno(self) -> int:
        """The descriptor: poll(2) tells by POLLOUT that the pipe has room again."""
        return self._fifo.fileno()

    def send(self, message: object) -> bool:
        r"""Put a message into the pipe, for the leader; never blocks, from any thread or greenlet.

        Args:
            message: bytes (at most 3069), or what JSON can hold in at most 4094 bytes without blanks
                and with ``\u`` escapes for all that is not ASCII.

        Returns:
            False if the pipe is full: the message is dropped and counted.

        Raises:
            ValueError: the message is too large or holds NaN or an infinity, or the inbox was closed.
            TypeError: JSON does not know a type in it.
        """
        data = frame(message)
        fd = self._fifo.fileno()
        here = self._process_state()
        with here.mutex:
            unreported_drops, here.unreported_drops = here.unreported_drops, 0
            note = drops_note(unreported_drops) if unreported_drops else b""
            if len(note) + len(data) > PIPE_BUF:  # another message will have room for it
                here.unreported_drops, note = unreported_drops, b""
            try:
                os.write(fd, note + data)
            except BlockingIOError:
                here.dropped += 1
                here.unreported_drops = unreported_drops + 1
                return False
            here.sent += 1
            return True

    def receive(self, leadership: Leadership | None = None) -> Iterator[object]:
        """Each message, as it comes; waits natively for the next one, without wakeups.

        Ends when the leadership is asked to stop, or the inbox is closed; what is still in the pipe
        waits for the next leader. To be called by the leader alone, and not in a coroutine, whose event
        loop it would stop; a green thread of gevent or eventlet waits by its hub. It does not beat: a
        leader with a lease calls `drain` at each tick instead.

        Raises:
            RuntimeError: a loop of this process receives already.
            ValueError: the inbox was closed.
        """
        here = self._process_state()
        with here.reading.front(leadership) as front:
            while not here.reading.is_stopped():
                yield from here.messages(front, self.path)
                if not here.reading.is_stopped():
                    here.reading.wait()

    def drain(self) -> Iterator[object]:
        """Each message that waits now; never blocks.

        Ends when the pipe is empty, or when as much was taken as waited at the start, so that busy
        senders cannot keep it going.

        Raises:
            RuntimeError, ValueError: as `receive` does.
        """
        here = self._process_state()
        with here.reading.front() as front:
            end = here.taken + self.pending
            while here.taken < end and not here.reading.is_stopped() and self.pending:
                yield from here.messages(front, self.path)

    def close(self) -> None:
        """Close it in this process, from any thread; a loop that waits ends."""
        self._process_state().reading.close()

    def __enter__(self) -> Inbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<leaderlock.Inbox {self.path!r}>"


class _Use:
    """One process's numbers and its reading end."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.mutex = RLock()  # reentrant: a signal handler may send as well
        self.sent = self.dropped = self.unreported_drops = 0
        self.received = self.malformed = self.drops_reported = self.taken = 0

    def messages(self, front: Front, path: str) -> Iterator[object]:
        """The messages that one look at the pipe shows; each is taken when it is asked for."""
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
            except (ValueError, RecursionError):
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
