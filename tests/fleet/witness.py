"""An independent witness of an election: who led, while whose process still existed.

It shares no code with leaderlock, and runs in the candidates. A leader first writes a line "begin" into
a ledger, and then looks whether the process of an earlier leader still exists. Each line is appended by
one write(2) with O_APPEND, so of two leaders that begin at the same time, at least one sees the other.
A stopped or frozen process counts as existing. A process to which the kernel has sent SIGKILL does not,
since it executes no further instruction of its program, however long its end takes on a busy machine.

While it leads, a leader writes to a resource, again and again. The resource belongs to the test's
process, keeps the greatest term that it has seen, and refuses an older one.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_LEDGER, _RESOURCE = "ledger", "resource"
_PF_EXITING = 0x4


class Line(NamedTuple):
    """A line of the ledger.

    Attributes:
        what: "ready", "begin", "end" or "overlap".
        moment: CLOCK_MONOTONIC when it was written.
        pid: whose line it is.
        started: when that process started, which tells it from a later one of the same PID.
        term: 0 for "ready".
        beside: for "overlap": the PID and the term of the earlier leader.
    """

    what: str
    moment: float
    pid: int
    started: int
    term: int
    beside: tuple[int, int] = (0, 0)


class Work(NamedTuple):
    """A write to the resource.

    Attributes:
        moment: CLOCK_MONOTONIC when it was sent.
        pid: whose write it is.
        term: the fencing token.
        accepted: whether no write of a greater term came before.
    """

    moment: float
    pid: int
    term: int
    accepted: bool


class Witness:
    """What a leader tells.

    Args:
        directory: of the ledger and the resource.
    """

    def __init__(self, directory: Path) -> None:
        self._ledger = directory / _LEDGER
        self._resource = str(directory / _RESOURCE)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def _write(self, what: str, term: int, beside: tuple[int, int] = (0, 0)) -> None:
        pid = os.getpid()
        state = _state(pid)
        assert state is not None
        line = Line(what, time.monotonic(), pid, state.started, term, beside)
        fd = os.open(self._ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)

    def ready(self) -> None:
        """The process stands for election from now on."""
        self._write("ready", 0)

    def begin(self, term: int) -> None:
        """A term begins: the first act of the leader's task."""
        self._write("begin", term)
        for pid, earlier in _unfinished(read(self._ledger), before=term):
            self._write("overlap", term, (pid, earlier))

    def end(self, term: int) -> None:
        """The task has stopped: the last act."""
        self._write("end", term)

    def work(self, term: int) -> None:
        """Write to the resource."""
        try:
            self._socket.sendto(f"{time.monotonic()} {os.getpid()} {term}".encode(), self._resource)
        except (FileNotFoundError, ConnectionRefusedError):  # the test has ended
            return


def read(ledger: Path) -> list[Line]:
    """The lines of a ledger, in the order in which they were written."""
    try:
        text = ledger.read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    lines = [Line(*fields) for fields in map(json.loads, text.splitlines())]
    return [line._replace(beside=(line.beside[0], line.beside[1])) for line in lines]


def _unfinished(lines: list[Line], before: int) -> list[tuple[int, int]]:
    """The PID and the term of each other leader whose task has not stopped and whose process exists."""
    finished = {(line.pid, line.term) for line in lines if line.what == "end"}
    return [
        (line.pid, line.term)
        for line in lines
        if line.what == "begin"
        and line.term != before
        and (line.pid, line.term) not in finished
        and exists(line.pid, line.started)
    ]


class _State(NamedTuple):
    letter: str
    flags: int
    started: int


def _state(pid: int) -> _State | None:
    """From proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return _State(fields[0], int(fields[6]), int(fields[19]))


def exists(pid: int, started: int) -> bool:
    """Whether a process may still execute an instruction of its program, perhaps when continued."""
    # Twice: between the arrival of SIGKILL and the flag PF_EXITING there is an instant without either.
    return all(_exists(pid, started) for _ in range(2))


def _exists(pid: int, started: int) -> bool:
    state = _state(pid)
    if state is None or state.started != started:
        return False
    if state.letter in "ZX" or state.flags & _PF_EXITING:
        return False
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    pending = (int(line.split()[1], 16) for line in text.splitlines() if "Pnd:" in line)
    return not any(mask >> (signal.SIGKILL - 1) & 1 for mask in pending)


class Resource:
    """Takes the writes of the leaders, in a thread; refuses one of an older term.

    Attributes:
        works: the writes, in the order of their arrival.
    """

    def __init__(self, directory: Path) -> None:
        self.works: list[Work] = []
        self._greatest = 0
        self._arrived = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / _RESOURCE))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while data := self._socket.recv(200):
            moment, pid, term = data.split()
            self._greatest = max(self._greatest, int(term))
            work = Work(float(moment), int(pid), int(term), int(term) == self._greatest)
            with self._arrived:
                self.works.append(work)
                self._arrived.notify_all()

    def wait(self, wanted: Callable[[Work], bool], timeout: float) -> Work:
        """The next write that is wanted, from now on.

        Raises:
            TimeoutError: there was none.
        """
        until = time.monotonic() + timeout
        with self._arrived:
            seen = len(self.works)
            while True:
                for work in self.works[seen:]:
                    if wanted(work):
                        return work
                seen = len(self.works)
                left = until - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    raise TimeoutError(f"no such write to the resource in {timeout:g} s")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


class Verdict(NamedTuple):
    """What the ledger and the resource show.

    Attributes:
        ready: the PIDs of the candidates that wait in the engine, or lead, or have done so.
        overlaps: a leader began while an earlier one's process existed.
        terms: those that began, in this order.
        refused: writes of an older term after those of a newer one.
    """

    ready: set[int]
    overlaps: list[Line]
    terms: list[int]
    refused: list[Work]

    @property
    def faults(self) -> list[str]:
        """What an election must never do; empty if it never did."""
        found = [
            f"process {line.pid} began term {line.term} while process {line.beside[0]} of term"
            f" {line.beside[1]} existed"
            for line in self.overlaps
        ]
        found += [
            f"term {later} came after term {earlier}"
            for earlier, later in itertools.pairwise(self.terms)
            if later <= earlier
        ]
        found += [f"process {work.pid} wrote with the old term {work.term}" for work in self.refused]
        return found


def judge(directory: Path, resource: Resource) -> Verdict:
    """What there is to see until now."""
    lines = read(directory / _LEDGER)
    return Verdict(
        {line.pid for line in lines if line.what == "ready"},
        [line for line in lines if line.what == "overlap"],
        [line.term for line in lines if line.what == "begin"],
        [work for work in resource.works if not work.accepted],
    )
