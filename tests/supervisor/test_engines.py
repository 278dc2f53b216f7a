"""The supervisor under an engine without any file, lock or descriptor: a server behind a socket."""

from __future__ import annotations

import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import PATIENCE
from tests.supervisor.pid1 import Running

GRANTING = str(Path(__file__).with_name("granting.py"))
SAYS_ITS_END = (
    "trap 'echo stopped; exit 7' TERM; echo $$ $LEADERLOCK_TERM $LEADERLOCK_PATH;"
    " while :; do sleep 1000 & wait; done"
)


class Server:
    """What grants the terms."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._received = b""

    def say(self, line: str) -> None:
        self._socket.sendall(f"{line}\n".encode())

    def line(self) -> str:
        """What the supervisor says next; an empty line once it has ended."""
        while b"\n" not in self._received:
            if not select.select([self._socket], [], [], PATIENCE)[0]:
                raise TimeoutError("the supervisor says nothing")
            chunk = self._socket.recv(4096)
            if not chunk:
                return ""
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def lines(self, number: int) -> list[str]:
        return [self.line() for _ in range(number)]


@contextmanager
def granting(limit: str, watch: str = "loop") -> Iterator[tuple[Server, Running]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = [
            sys.executable,
            GRANTING,
            str(theirs.fileno()),
            limit,
            watch,
            "sh",
            "-c",
            SAYS_ITS_END,
        ]
        with Running(program=program, pass_fds=[theirs.fileno()]) as running:
            theirs.close()
            yield Server(ours), running


def pid_in(line: str, rest: str) -> int:
    pid, _, said = line.partition(" ")
    assert said == rest
    return int(pid)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_command_runs_for_a_term_that_a_server_has_granted() -> None:
    with granting("inf") as (server, running):
        assert server.lines(2) == ["import", "stand"]
        server.say("elected 41")
        pid = pid_in(running.line(), "41 granted://server/app")
        assert server.lines(3) == ["started 41", "watch", "accept"]
        running.signal(signal.SIGTERM)
        assert server.lines(3) == ["end of the watch", "resign, released", "finish"]
        assert is_gone(pid)
        assert running.line() == "stopped"
        assert running.line() == "imported:"
        assert running.wait() == 7


@pytest.mark.parametrize("watch", ["loop", "thread"])
def test_the_command_is_stopped_when_the_server_says_that_the_term_is_lost(watch: str) -> None:
    with granting("inf", watch) as (server, running):
        assert server.lines(2) == ["import", "stand"]
        server.say("elected 1")
        first = pid_in(running.line(), "1 granted://server/app")
        assert server.lines(3) == ["started 1", "watch", "accept"]
        server.say("lost")
        # Nothing is left to resign from; it stands again once the command has gone.
        assert server.lines(3) == ["end of the watch", "finish", "stand"]
        assert is_gone(first)
        assert running.line() == "stopped"
        running.signal(signal.SIGTERM)
        assert server.line() == "finish"
        assert running.wait() == 128 + signal.SIGTERM
        assert "the server says so" in running.said()


@pytest.mark.parametrize("watch", ["loop", "thread"])
def test_the_command_is_stopped_when_the_server_asks_for_the_term(watch: str) -> None:
    with granting("inf", watch) as (server, running):
        assert server.lines(2) == ["import", "stand"]
        server.say("elected 1")
        first = pid_in(running.line(), "1 granted://server/app")
        assert server.lines(3) == ["started 1", "watch", "accept"]
        server.say("resign")
        assert server.lines(3) == ["end of the watch", "resign, as the server wished", "finish"]
        assert is_gone(first)
        assert server.line() == "stand"
        assert "asked to resign from granted://server/app" in running.said()


def test_a_wait_that_has_lasted_too_long_leaves_the_engine() -> None:
    with granting("0.1") as (server, running):
        assert server.lines(3) == ["import", "stand", "finish"]
        assert running.wait() == 75


def test_a_signal_ends_the_wait_in_an_engine() -> None:
    with granting("inf") as (server, running):
        assert server.lines(2) == ["import", "stand"]
        running.signal(signal.SIGTERM)
        assert server.line() == "finish"
        assert running.wait() == 128 + signal.SIGTERM


def test_exec_is_refused_where_the_engine_has_no_descriptor_to_keep() -> None:
    with granting("exec") as (server, running):
        assert server.line() == ""
        assert running.wait() == 2
        assert running.said().splitlines() == [
            "--exec hands the descriptor of a lock file on to the command, and granted://server/app "
            "has none: leave out --exec"
        ]
