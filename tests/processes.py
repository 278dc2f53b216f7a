"""Real processes for the tests to talk to, and what the kernel says of them."""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import psutil

from leaderlock import Election, Leadership
from leaderlock.kernel.proc.mounts import place_of

PATIENCE = 60.0
"""Seconds after which something that should have happened has not, on the slowest machine."""

needs_root = "needs root"

_Found = TypeVar("_Found")
_Result = TypeVar("_Result")


class ChildError(Exception):
    """What was told to a child raised there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Child:
    """A Python process that evaluates, in its main thread, what it is told.

    `LeaderLock`, `leaderlock`, `os`, `signal`, `sys`, `threading` and `time` are imported there. What a
    thread of it prints may come before the answer to what started that, or after it.
    """

    def __init__(self, *arguments: str | os.PathLike[str], program: Path | None = None) -> None:
        program = program or Path(__file__).with_name("remote.py")
        self._process = subprocess.Popen(
            [sys.executable, program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for pytest alone
        )
        self._received = b""
        self._answers: list[str] = []
        self._lines: list[str] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def begin(self, source: str) -> None:
        """Tell it something that takes time; `answer` gets the result."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{source!r}\n".encode())
        self._process.stdin.flush()

    def answer(self, timeout: float = PATIENCE) -> Any:
        """The result of what it was told first; raises what that raised, as a `ChildError`."""
        reply = ast.literal_eval(self._next(self._answers, timeout))
        if reply[0] == "error":
            raise ChildError(*reply[1:])
        return reply[1]

    def tell(self, source: str) -> Any:
        """Tell it something and wait for the result."""
        self.begin(source)
        return self.answer()

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line that it prints."""
        return self._next(self._lines, timeout)

    def _next(self, queue: list[str], timeout: float) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while not queue:
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(deadline - time.monotonic(), 0)
            )
            if not ready:
                raise TimeoutError(f"process {self.pid} said nothing for {timeout} s")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise EOFError(f"process {self.pid} ended with {self._process.wait()}")
            *lines, self._received = (self._received + data).split(b"\n")
            for line in map(bytes.decode, lines):
                is_answer = line.startswith(("('value', ", "('error', "))
                (self._answers if is_answer else self._lines).append(line)
        return queue.pop(0)

    def is_silent(self, seconds: float) -> bool:
        """Whether it says nothing for so long."""
        assert self._process.stdout is not None
        said = self._received or self._answers or self._lines
        return not said and not select.select([self._process.stdout], [], [], seconds)[0]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it has gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float = PATIENCE) -> int:
        return self._process.wait(timeout)

    def end(self) -> int:
        """Let it come to its regular end, and return its status."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Also what it has forked: it is the leader of a group of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def holder(path: str | os.PathLike[str]) -> Child:
    """A child that holds the lock, as `lock`."""
    child = Child(path)
    child.tell("lock = LeaderLock(argv[0]); lock.acquire()")
    return child


def until(condition: Callable[[], _Found], what: str = "it to happen") -> _Found:
    """Wait for something that the kernel gives no event for; what the condition returned then."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.002)
    return found


def flocks(place: str = "") -> list[tuple[int, bool]]:
    """PID, and whether it waits, of each flock (on a file) in /proc/locks, holders first."""
    found = []
    for fields in table_of_locks(place):
        waits = fields[0] == "->"
        kind, _, _, pid = fields[waits : 4 + waits]
        if kind == "FLOCK":
            found.append((int(pid), waits))
    return sorted(found, key=lambda entry: entry[1])


def table_of_locks(place: str = "") -> list[list[str]]:
    """The entries of ``/proc/locks`` that end with some place, each once and without its number.

    The kernel gives the table in pieces, between which others lock and unlock: an entry may come twice,
    or be missed. So the table is read until these entries stand still, whatever the others do; more
    often if there is none.
    """
    found: list[list[str]] = []
    alike = 0
    for _ in range(100):
        table = Path("/proc/locks").read_text(encoding="ascii")
        lines = [line.split()[1:] for line in table.splitlines()]
        before = found
        found = [
            list(fields) for fields in dict.fromkeys(map(tuple, lines)) if fields[-3].endswith(place)
        ]
        alike = alike + 1 if found == before else 1
        # The last piece is an empty one, so that a short table has no entry too few.
        if len(table) <= 4000 or alike == (3 if found else 6):
            break
    return found


def flocks_of(path: str | os.PathLike[str]) -> list[tuple[int, bool]]:
    fd = os.open(path, os.O_PATH)
    try:
        # Not by the inode's number alone: those of two small file systems are soon the same.
        (major, minor), inode = place_of(fd)
    finally:
        os.close(fd)
    return flocks(f"{major:02x}:{minor:02x}:{inode}")


def until_parked(path: str | os.PathLike[str], *pids: int) -> None:
    """Wait until these processes stand in the kernel's queue for the file's lock."""
    until(
        lambda: {(pid, True) for pid in pids} <= set(flocks_of(path)),
        f"{pids} to queue for {path}",
    )


def threads_of(pid: int | str = "self") -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def descriptors_of(pid: int | str = "self") -> list[str]:
    """What each open descriptor of a process leads to."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sorted(links)


def descriptors_without_garbage() -> list[str]:
    """This process's, to compare with later ones; garbage of earlier tests holds none of them."""
    gc.collect()
    return descriptors_of()


def wakeups_of(pid: int) -> dict[int, int]:
    """How often each thread of a process has been switched away from, by will or by force."""
    counts = {}
    for thread in threads_of(pid):
        text = Path(f"/proc/{pid}/task/{thread}/status").read_text(encoding="ascii")
        counts[thread] = sum(
            int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line
        )
    return counts


def settled(pid: int) -> dict[int, int]:
    """The wakeups of a process that has come to rest: all its threads sleep, and none has meanwhile."""
    before: dict[int, int] = {}
    while (now := wakeups_of(pid)) != before or not all(map(sleeps, threads_of(pid))):
        before = now
        time.sleep(0.05)
    return before


def sleeps(thread: int) -> bool:
    """Whether it waits for something, rather than for a processor."""
    text = Path(f"/proc/{thread}/stat").read_text(encoding="ascii")
    return text.rpartition(")")[2].split()[0] == "S"


@contextlib.contextmanager
def without_a_successor(pid: int) -> Iterator[None]:
    """Stop a process's parent, which must not stand itself, so that it starts no other one meanwhile.

    The kernel hands no lock over: it wakes the first of those who wait, and a newcomer that asks before
    that one has run has the lock.
    """
    parent = psutil.Process(psutil.Process(pid).ppid())
    parent.suspend()
    try:
        until(lambda: parent.status() == psutil.STATUS_STOPPED, f"{parent} to stop")
        yield
    finally:
        parent.resume()


def forked(child: Callable[[], object]) -> int:
    """Run a function in a forked child; its exit status, which is 0 if it returned a true value.

    A child that does not end is aborted: the status is then -SIGABRT.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if child() else 2
        except BaseException as error:  # noqa: BLE001  (a forked child must not run pytest)
            os.write(2, f"in the forked child: {error!r}\n".encode())
        finally:
            os._exit(status)
    end = os.pidfd_open(pid)
    try:
        if not select.select([end], [], [], PATIENCE)[0]:
            os.kill(pid, signal.SIGABRT)  # pytest's faulthandler prints where the child waits
    finally:
        os.close(end)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_task(election: Election, task: Callable[[Leadership], _Result]) -> _Result:
    """`Election.run` with a task that fails once: its first exception is raised here.

    A failed task is logged, and run again after a pause: a test whose assertion fails in a task would
    never end.
    """
    failures: list[BaseException] = []

    def once(leadership: Leadership) -> _Result:
        try:
            return task(leadership)
        except BaseException as error:
            failures.append(error)
            election.ask_to_stop()
            raise

    result = election.run(once)
    if failures:
        raise failures[0]
    return result


@contextlib.contextmanager
def handling(number: int, handler: Callable[..., object]) -> Iterator[None]:
    """A signal handler for the time of a block."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


KEEP_WARNINGS = """
import logging
messages = []
class Keep(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
logging.getLogger("leaderlock").addHandler(Keep())
"""
"""Lines for a child: it keeps in `messages` what leaderlock logs as a warning or worse."""
