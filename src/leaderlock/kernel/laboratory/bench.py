"""The equipment of the experiments: a file, its descriptors, and forked processes.

Only for a process without threads: `laboratory` starts one for the experiments.
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
    """A file for the experiments, its open descriptors, and the forked processes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fds: list[int] = []
        self._children: list[Child] = []

    def open(self, flags: int = os.O_RDWR | os.O_CREAT) -> int:
        """Open the file: a descriptor of a new open file description."""
        fd = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        self._fds.append(fd)
        return fd

    def close(self, fd: int) -> None:
        """Close one of the descriptors."""
        self._fds.remove(fd)
        os.close(fd)

    def fork(self, act: Callable[[], float | None]) -> Child:
        """Fork a child that calls `act`, reports the result, and stays until `Child.let_go`."""
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
    """A forked process. No other process shares the descriptors that it opens."""

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
        """The result of `act`, 0 for None; raises the OSError that the child's `act` raised."""
        told = json.loads(os.read(self._said, 4096) or b'[0, "its process died"]')
        if isinstance(told, list):
            raise OSError(*told)
        return float(told or 0)

    def until_exec(self) -> None:
        """Wait until the child has called exec; raises the OSError that the child's `act` raised."""
        told = os.read(self._said, 4096)
        if told:  # empty after exec: the child's end of the pipe is close-on-exec
            raise OSError(*json.loads(told))

    def settle(self) -> None:
        """Wait up to 50 ms until the child is in the queue: no event says so; NFS shows no queue."""
        waiting = f" {self.pid} ".encode()
        for _ in range(50):
            if any(b"-> FLOCK" in line and waiting in line for line in read_locks() or ()):
                return
            select.select([], [], [], 0.001)

    def let_go(self) -> None:
        """Let the child end, and wait for its end."""
        os.write(self._go, b".")  # closing would not do: children forked later have this end too
        self._wait()

    def kill(self) -> None:
        """Kill the child with SIGKILL, unless it has ended, and wait for its end."""
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
        from leaderlock.kernel.control import die_with_parent  # noqa: PLC0415  (Linux only)

        die_with_parent(signal.SIGKILL, parent)
