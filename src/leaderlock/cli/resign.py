"""``leaderlock resign``: asks the leader to resign in good order, and may wait until it has."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time

from leaderlock.cli.command import Command
from leaderlock.cli.names import NAME, NOTES, chosen_one, chosen_url
from leaderlock.cli.options import HELP, Option, UsageError
from leaderlock.errors import LeaderLockError, LockFileUnusable, UnsafeLockFile, Unsupported
from leaderlock.lock import journal, record, resigning
from leaderlock.status.facts import process_in
from leaderlock.status.lock import status_of
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.kernel.inotify import Inotify
    from leaderlock.status import LockStatus

NOBODY_LEADS = 1

_SUCCESSION = 5.0
"""Seconds that the message waits for the next leader, since a busy machine delays it."""

COMMAND = Command(
    "resign",
    "ask the leader to step down in good order",
    operands="PATH|NAME|URL",
    completes="lock",
    text="""\
Asks the leader to end its term. Its task is asked to stop, and the lock is released when
the task has ended. Then the next process in the queue leads, and the old leader waits
behind the others. If no other process waits, the old leader leads again after a moment.
`leaderlock run` stops its command by the schedule, and starts it again when it leads.""",
    groups=(
        (
            "Options",
            (
                HELP,
                NAME,
                Option("--wait", help="wait until the term has ended, and show the next leader"),
            ),
        ),
    ),
    notes=f"""\
Only a user who may write to the lock file can ask: its owner and root. A task that never
looks at leadership.stopping never ends its term. A leader whose task has returned, as
most functions of only_once do, cannot stop what the task has started. A plain LeaderLock,
flock(1) and `leaderlock run --exec` do not listen. In both cases the command says so, and
says how to stop the process.

{NOTES}""",
    statuses=(
        ("0", "the leader is asked; with --wait, its term has ended"),
        ("1", "nobody leads"),
        ("125", "the holder does not listen, or the lock file is missing or cannot be written to"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock resign beat", "The lock that `leaderlock run --name beat` takes."),
        (
            "leaderlock resign --wait /run/app/leader.lock && systemctl restart app@1",
            "Let another instance lead before you restart this one.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Ask the leader, wait if requested, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if url := chosen_url(parsed):
        from leaderlock.cli import fleet  # noqa: PLC0415  (only for a URL)

        return fleet.resign(url, bool(parsed.get("wait")))
    path = chosen_one(parsed)
    if not path or "\0" in path:
        raise UsageError("one lock is needed: the PATH of its file, or its NAME")
    if path.startswith("memfd:") or process_in(os.path.abspath(path)) is not None:
        raise Unsupported(f"{path}: the leader by an anonymous lock cannot be asked; stop its process")
    status = status_of(path)
    if status.holder is None:
        hidden = f" (hidden: {status.hidden})" if status.hidden else ""
        print(printable(f"leaderlock: nobody leads {status.path}{hidden}"), file=sys.stderr)
        return NOBODY_LEADS
    with _opened(path) as fd:
        _Asking(fd, status).run(bool(parsed.get("wait")))
    return 0


@contextlib.contextmanager
def _opened(path: str):  # type: ignore[no-untyped-def]
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        remedy = "ask as the user of the lock file, or as root"
        raise LockFileUnusable(error, "ask the leader", os.path.abspath(path), remedy) from error
    try:
        yield fd
    finally:
        os.close(fd)


class _Asking:
    """One request to one leader."""

    def __init__(self, fd: int, status: LockStatus) -> None:
        holder = status.holder
        assert holder is not None
        if not os.path.samestat(os.fstat(fd), os.stat(status.path, follow_symlinks=False)):
            raise UnsafeLockFile(f"{status.path} was replaced just now: ask again")
        self._fd = fd
        self._path = status.path
        self._pid = holder.pid
        self._leader = f"process {holder.pid}" if holder.pid else "the leader"
        self._waiting = [process.pid for process in status.waiting]
        if holder.term is None:
            raise self._deaf()
        self._term = holder.term

    def run(self, wait: bool) -> None:
        self._require_heeding()
        watch = self._watch() if wait else None
        try:
            resigning.ask(self._fd, self._term)
        except OSError as error:  # ENOSPC, EROFS
            raise LockFileUnusable(error, "ask the leader", self._path) from error
        print(f"asked {self._leader} to resign from {printable(self._path)}, term {self._term}")
        if watch is not None:
            sys.stdout.flush()
            self._wait(watch)
            print(f"term {self._term} has ended; {self._succession(watch)}")
        elif self._waiting:
            print(f"process {self._waiting[0]} waits, and leads next")
        else:
            print(f"no other process waits: {self._leader} leads again, unless one comes before it")

    def _deaf(self) -> LeaderLockError:
        stop = f"stop it: kill -TERM {self._pid}" if self._pid else "stop it"
        return LeaderLockError(
            f"{self._path} is held by {self._leader}, and nobody there listens: it is no candidate of "
            f"an election and no `leaderlock run` (but a plain LeaderLock, flock(1) or `run --exec`), "
            f"or it is of version 0.1.0, or its task has not waited or beaten yet; {stop}"
        )

    def _require_heeding(self) -> None:
        answer = resigning.answer_of(self._fd, self._term)
        if answer == resigning.HOLDS:
            raise LeaderLockError(
                f"{self._path}: the task of {self._leader} has returned, and what it started cannot "
                f"be stopped from outside: stop the process (kill -TERM {self._pid}), or let the task "
                f"stay until leadership.stopping is set"
            )
        if answer is None:
            raise self._deaf()

    def _watch(self) -> Inotify:
        try:
            from leaderlock.kernel import inotify  # noqa: PLC0415  (ctypes; only --wait needs it)
        except ImportError as missing:
            raise Unsupported(f"--wait needs the events of Linux: {missing}") from missing
        watch = inotify.Inotify()
        events = inotify.MODIFY | inotify.ATTRIB | inotify.CLOSE | inotify.GONE
        watch.add(f"/proc/self/fd/{self._fd}", events)
        return watch

    def _wait(self, watch: Inotify) -> None:
        """Wait until the term's slot, a new record, the file or the leader's exit shows the end."""
        poll = select.poll()
        poll.register(watch.fileno(), select.POLLIN)
        leader = -1
        with contextlib.suppress(OSError):  # ESRCH: it has ended, or is in another PID namespace
            if self._pid:
                leader = os.pidfd_open(self._pid)
                poll.register(leader, select.POLLIN)
        try:
            while not self._has_ended():
                self._require_heeding()  # the task may have returned before it saw the request
                if any(fd == leader for fd, _ in poll.poll()):
                    return
                watch.drain()
        finally:
            if leader >= 0:
                os.close(leader)

    def _has_ended(self) -> bool:
        if self._newest_term() > self._term or not os.fstat(self._fd).st_nlink:
            return True
        slot = os.pread(self._fd, journal.SLOT_SIZE, journal.place_of(self._term))
        tail = journal.read_tail(slot)
        return record.term_of(slot[: record.COPY_SIZE]) == self._term and bool(tail and tail[3])

    def _newest_term(self) -> int:
        fields = record.decode(os.pread(self._fd, record.SIZE, 0))
        return fields["term"] if fields is not None else 0

    def _succession(self, watch: Inotify) -> str:
        """The leader now: usually the next in line has the lock within a millisecond."""
        deadline = time.monotonic() + _SUCCESSION
        while self._waiting and (left := deadline - time.monotonic()) > 0:
            if self._newest_term() > self._term:
                break
            select.select([watch], [], [], left)
            watch.drain()
        with contextlib.suppress(LeaderLockError):
            holder = status_of(self._path).holder
            if holder is not None and holder.term != self._term:
                return f"process {holder.pid} leads now"
        return f"nobody leads now: {self._leader} leads again, unless another one comes before it"
