"""Workers forked from this process, as a prefork server does: one leads, the others stand by."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.stamps import PATIENCE, read_stamp, stamp


def await_queue(path: str, length: int) -> None:
    """Wait until so many processes are in the kernel's queue for a lock file."""
    deadline = time.monotonic() + PATIENCE
    inode = f":{os.stat(path).st_ino}"
    while (
        sum(
            "->" in line and line.split()[6].endswith(inode)  # proc_locks(5): this one waits
            for line in Path("/proc/locks").read_text("ascii").splitlines()
        )
        < length
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {length} wait for the lock after {PATIENCE} s")
        time.sleep(0.005)  # /proc/locks has no event


def settle(longest: float = 0.1) -> None:
    """A pause of random length, so that kills fall anywhere between two polls of a poller."""
    time.sleep(0.05 + random.uniform(0, longest))


@contextmanager
def forked(body: Callable[[], object]) -> Iterator[int]:
    """A child that runs `body` and then stays until it is killed, at the latest when we end."""
    reader, writer = os.pipe()
    pid = fork(body, reader, writer)
    try:
        yield pid
    finally:
        end([pid])
        os.close(reader)
        os.close(writer)


def fork(body: Callable[[], object], life_reader: int, life_writer: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.close(life_writer)
        body()
        os.read(life_reader, 1)  # the end of the file, when the benchmark has ended
    finally:
        os._exit(0)


def end(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


class Group:
    """A leader and its standbys, all of one contender and on one lock file."""

    def __init__(self, contender: Contender, path: str, standbys: int) -> None:
        self.contender = contender
        self.path = path
        self.standbys = standbys
        self.pids: list[int] = []
        self._life = os.pipe()
        self._stamps = os.pipe()
        self._ready = os.pipe()

    def __enter__(self) -> Group:
        try:
            self._fork()
            self.leader, _ = read_stamp(self._stamps[0])
            for _ in range(self.standbys):
                self._fork()
            self._await_standbys()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self.pids)
        for fd in (*self._life, *self._stamps, *self._ready):
            os.close(fd)

    def kill_leader(self) -> float:
        """SIGKILL the leader; milliseconds to the first line of the next one's task."""
        before = time.monotonic_ns()
        os.kill(self.leader, signal.SIGKILL)
        leader, now = read_stamp(self._stamps[0])
        os.waitpid(self.leader, 0)
        self.pids.remove(self.leader)
        self.leader = leader
        self._fork()
        self._await_standbys()
        return (now - before) / 1e6

    def _fork(self) -> None:
        def work() -> None:
            self.contender.start(self.path, lambda: stamp(self._stamps[1]))
            os.write(self._ready[1], b".")

        self.pids.append(fork(work, *self._life))
        if not select.select([self._ready[0]], [], [], PATIENCE)[0]:
            raise TimeoutError("a worker did not start")
        os.read(self._ready[0], 1)

    def _await_standbys(self) -> None:
        if self.contender.queues:
            await_queue(self.path, self.standbys)
