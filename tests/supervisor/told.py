"""A command under `leaderlock run` that does what the test tells it, a line of Python at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import PIPE

from tests.processes import PATIENCE
from tests.supervisor.pid1 import Running

# `notify` sends a message to whoever is the command's manager.
_PRELUDE = """\
import os, signal, socket, struct, subprocess, sys, time
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
address = os.environ.get("NOTIFY_SOCKET")
if address:
    manager.connect(chr(0) + address[1:] if address[0] == "@" else address)
def notify(text):
    manager.send(text if isinstance(text, bytes) else text.encode())
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one go: children speak too
say("up", os.getpid())
for line in sys.stdin:
    exec(line)
    say("ok")
"""
TOLD = [sys.executable, "-S", "-c", _PRELUDE]


class Told(Running):
    """`leaderlock run OPTION... -- (the command)`; `command_pid` is the command's process ID."""

    def __init__(
        self,
        *options: str,
        as_pid1: bool = False,
        environment: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            "run", *options, "--", *wrapper, *TOLD,
            as_pid1=as_pid1, environment=environment, stdin=PIPE,
        )  # fmt: skip
        self.command_pid = int(self.line().removeprefix("up "))

    def tell(self, source: str) -> None:
        """Have it done; more lines may have been printed on the way."""
        self.begin(source)
        assert self.line() == "ok"

    def begin(self, source: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(source.encode() + b"\n")
        self.process.stdin.flush()

    def is_sent(self, number: int) -> None:
        """Send leaderlock a signal, and wait for the command to get it, which does nothing to it."""
        self.begin(f"signal.pthread_sigmask(signal.SIG_BLOCK, {{{number}}}); say('blocked')")
        assert [self.line(), self.line()] == ["blocked", "ok"]
        self.signal(number)
        self.tell(f"signal.sigwait({{{number}}})")

    def close_input(self) -> None:
        """It ends then, with 0."""
        assert self.process.stdin is not None
        self.process.stdin.close()


class Manager:
    """A service manager: the socket that it listens at."""

    def __init__(self, bound: socket.socket, address: str) -> None:
        self._socket = bound
        self.environment = {"NOTIFY_SOCKET": address}
        self._socket.settimeout(PATIENCE)

    def message(self) -> str:
        """The next one."""
        return self._socket.recv(65536).decode()

    def until(self, wanted: str) -> list[str]:
        """Messages until one is `wanted`, those before it."""
        before = []
        while (message := self.message()) != wanted:
            before.append(message)
        return before

    def is_silent(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(65536)
        except (TimeoutError, BlockingIOError):
            return True
        finally:
            self._socket.settimeout(PATIENCE)
        return False


@contextlib.contextmanager
def managing(directory: Path, *, abstract: bool = False) -> Iterator[Manager]:
    """A manager for the time of a block, at a path or at an abstract address."""
    name = f"leaderlock-test/{os.urandom(8).hex()}"
    address = f"@{name}" if abstract else str(directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"\0{name}" if abstract else address)
        yield Manager(bound, address)
