"""What the experiments work with: a file, descriptors of it, and forked processes.

Only for a process without threads, which `laboratory` starts for them.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys

from leaderlock.kernel.proc.table import read_locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_ANSWER = "no answer within {:g} s"
IT_HANGS = "The file system hangs, or its lock service does not answer; the rest was not tried."


class Bench:
    """A file to try things on, the descriptors opened on it, and the processes forked."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fds: list[int] = []
        self._children: list[Child] = []

    def open(self, flags: int = os.O_RDWR | os.O_CREAT) -> int:
        """A new open file description."""
        fd = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        self._fds.append(fd)
        return fd

    def close(self, fd: int) -> None:
        """Close one of them."""
        self._fds.remove(fd)
        os.close(fd)

    def fork(self, act: Callable[[], float | None]) -> Child:
        """A child that does it, tells what came of it, and stays until it is let go."""
        child = Child(act)
        self._children.append(child)
        return child

    def clear(self) -> None:
        """End the children, close the descriptors, remove the file."""
        for child in self._children:
            child.kill()
        for fd in self._fds:
            os.close(fd)
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


class Child:
    """A forked process. What it has opened itself, nobody else has."""

    def __init__(self, act: Callable[[], float | None]) -> None:
        self._said, say = os.pipe()
        stay, self._go = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _die_with(parent)
                os.write(say, json.dumps(act()).encode())
                os.read(stay, 1)
            except OSError as error:
                os.write(say, json.dumps([error.errno, error.strerror]).encode())
            finally:
                os._exit(0)
        os.close(say)
        os.close(stay)
        self._ended = False

    def answer(self) -> float:
        """What it tells, 0 for nothing; raises the OSError that it met."""
        told = json.loads(os.read(self._said, 4096) or b'[0, "its process died"]')
        if isinstance(told, list):
            raise OSError(*told)
        return float(told or 0)

    def until_exec(self) -> None:
        """Wait until it has become another program; raises the OSError that it met."""
        told = os.read(self._said, 4096)
        if told:  # else its end of the pipe, close-on-exec, has gone
            raise OSError(*json.loads(told))

    def settle(self) -> None:
        """Give it time to stand in the queue: no event tells of that, and NFS shows no queue."""
        waiting = f" {self.pid} ".encode()
        for _ in range(50):
            if any(b"-> FLOCK" in line and waiting in line for line in read_locks() or ()):
                return
            select.select([], [], [], 0.001)

    def let_go(self) -> None:
        """Let it come to its end, and wait for that."""
        os.write(self._go, b".")  # not by closing: children forked later have this end too
        self._wait()

    def kill(self) -> None:
        """SIGKILL, if it has not ended, and wait for its end."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            self._wait()

    def _wait(self) -> None:
        os.waitpid(self.pid, 0)
        self._ended = True
        os.close(self._said)
        os.close(self._go)


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (there is none elsewhere)

        die_with_parent(signal.SIGKILL, parent)
