"""64 workers flood an inbox while its leader is killed 20 times: how fast, and what is lost."""

from __future__ import annotations

import mmap
import os
import random
import select
import signal
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figure import Figure
from leaderlock import Election, Leadership
from leaderlock.inbox import Inbox
from leaderlock.inbox.frames import LARGEST_BYTES
from leaderlock.kernel.control import die_with_parent

WORKERS = 64
STANDBYS = 3
MESSAGES = 1_000_000
KILLS = 20
PATIENCE = 120.0

HEADER = struct.Struct("=iiI")
# What is not ASCII, and what would end a frame, takes six bytes in JSON; 4,030 in all here.
TEXT = "abc\n\x1eé\0deé" * 130
RAW = random.Random(1).randbytes(LARGEST_BYTES)


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    total = 20_000 if quick else MESSAGES
    outcome = Flood(directory / "inbox", WORKERS, total // WORKERS).run(KILLS)
    what = f"{outcome.sent:,} messages of {WORKERS} workers, the leader killed {outcome.kills} times"
    speed = Figure(
        "inbox",
        f"the inbox: {what}",
        "messages/s",
        "from the first message to the last, JSON and bytes, of all sizes up to the limit, a fifth of "
        "it on average; senders wait for room when the pipe is full",
    )
    speed.add("sent, received and checked", outcome.received / outcome.seconds)
    losses = Figure(
        "inbox-losses",
        f"what is lost of {what}",
        "messages",
        "a killed leader may lose the one message that it has in hand, so at most as many as kills",
    )
    for name in ("lost", "torn", "duplicated", "misordered"):
        losses.add(name, getattr(outcome, name))
    return [speed, losses]


@dataclass(frozen=True)
class Outcome:
    """What became of the messages; the last four say what went wrong."""

    sent: int
    received: int
    kills: int
    seconds: float
    lost: int
    torn: int
    duplicated: int
    misordered: int


class Flood:
    """Workers that send numbered, checksummed messages, and leaders that mark what they were handed.

    The marks lie in memory that all share, so they outlive the leader that made them.
    """

    def __init__(self, path: Path, workers: int, each: int) -> None:
        self.workers = workers
        self.each = each
        self.lock = path.with_suffix(".lock")
        self.inbox = Inbox(path)
        self.pids: list[int] = []
        self.marks = mmap.mmap(-1, workers * each)
        self.numbers = memoryview(mmap.mmap(-1, 8 * (workers + 5))).cast("q")
        # After the number that each worker sent last: the leader's PID, messages that were handed over,
        # torn, misordered, and whether the last one of all has come.
        self.leader, self.received, self.torn, self.misordered, self.ended = range(workers, workers + 5)

    def run(self, kills: int) -> Outcome:
        begin = time.monotonic()
        try:
            for _ in range(1 + STANDBYS):
                self.fork(lambda: Election(self.lock).run(self.lead))
            workers = [self.fork(partial(self.work, number)) for number in range(self.workers)]
            for kill in range(kills):
                self.kill_leader(self.workers * self.each * (kill + 1) // (kills + 1))
            for worker in workers:
                os.waitpid(worker, 0)
                self.pids.remove(worker)
            while not self.inbox.send("the end"):
                self.await_room()
            self.until(lambda: self.numbers[self.ended])
            seconds = time.monotonic() - begin
        finally:
            for pid in self.pids:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        marks = self.marks[:]
        return Outcome(
            sent=len(marks),
            received=self.numbers[self.received],
            kills=kills,
            seconds=seconds,
            lost=marks.count(0),
            torn=self.numbers[self.torn],
            duplicated=len(marks) - marks.count(0) - marks.count(1),
            misordered=self.numbers[self.misordered],
        )

    def fork(self, body: Callable[[], object]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                die_with_parent(signal.SIGKILL, parent)
                body()
            finally:
                os._exit(0)
        self.pids.append(pid)
        return pid

    def kill_leader(self, progress: int) -> None:
        self.until(lambda: self.numbers[self.received] >= progress)
        leader = self.numbers[self.leader]
        os.kill(leader, signal.SIGKILL)
        os.waitpid(leader, 0)
        self.pids.remove(leader)
        self.fork(lambda: Election(self.lock).run(self.lead))
        self.until(lambda: self.numbers[self.leader] != leader)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no progress in {PATIENCE} s: {list(self.numbers)}")
            time.sleep(0.001)  # shared memory has no event

    def work(self, number: int) -> None:
        chance = random.Random(number)
        for sequence in range(self.each):
            message = made(number, sequence, chance.random() ** 4)
            while not self.inbox.send(message):
                self.await_room()

    def await_room(self) -> None:
        poll = select.poll()
        poll.register(self.inbox.fileno(), select.POLLOUT)
        poll.poll()

    def lead(self, leadership: Leadership) -> None:
        numbers = self.numbers
        numbers[self.leader] = os.getpid()
        for message in self.inbox.receive(leadership):
            if message == "the end":
                numbers[self.ended] = 1
                continue
            place = read(message)
            numbers[self.torn] += place is None
            if place is not None:
                worker, sequence = place
                self.marks[worker * self.each + sequence] += 1
                # Numbers begin at 0: kept as one more, so that 0 is none yet.
                numbers[self.misordered] += numbers[worker] > sequence
                numbers[worker] = sequence + 1
            numbers[self.received] += 1


def made(worker: int, sequence: int, size: float) -> object:
    """A message whose size is this part of the limit, with a checksum of all that is in it."""
    if sequence % 4 == 0:
        raw = RAW[: int(size * (len(RAW) - HEADER.size))]
        return HEADER.pack(worker, sequence, checksum(worker, sequence, raw)) + raw
    text = TEXT[: int(size * len(TEXT))]
    return [worker, sequence, checksum(worker, sequence, text.encode()), text]


def read(message: object) -> tuple[int, int] | None:
    """The worker and the number of a message that is whole."""
    if isinstance(message, bytes):
        worker, sequence, found = HEADER.unpack(message[: HEADER.size])
        content = message[HEADER.size :]
    elif isinstance(message, list):
        worker, sequence, found, text = message
        content = text.encode()
    else:
        return None
    return (worker, sequence) if found == checksum(worker, sequence, content) else None


def checksum(worker: int, sequence: int, content: bytes) -> int:
    return zlib.crc32(content, worker * 1_000_003 + sequence)
