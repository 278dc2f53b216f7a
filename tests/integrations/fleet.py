"""Several processes of one program, and what their task has noted; killed in the end."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from leaderlock.history.reading import history_of
from tests.integrations.server import Note, Server
from tests.processes import flocks_of, until, without_a_successor

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
_SAYS_WHO_LEADS = re.compile(r"process (\d+) leads, term (\d+)")


class Fleet(Server):
    """Commands that run side by side; a `Server` with its notes, whatever program serves.

    An example says who leads on its output, which all its processes share: the order of lines is the
    order of events. The programs of the tests note it, in the file that $NOTES names.

    Attributes:
        lock: the file of the lock called ``example``, or of another name.
    """

    def __init__(
        self, directory: Path, *commands: Iterable[object], name: str = "example", **environment: str
    ) -> None:
        self.directory = directory
        self.lock = directory / "locks" / f"{name}.lock"
        self.commands = [[str(word) for word in command] for command in commands]
        self.environment = {
            **os.environ,
            "LEADERLOCK_DIR": str(self.lock.parent),
            "NOTES": str(directory / "notes"),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, HERE, EXAMPLES))),
            **environment,
        }
        self._notes = directory / "notes"
        self._log = directory / "error.log"
        self._output = directory / "output"
        self._sessions = set()
        self._started: list[subprocess.Popen[bytes]] = []
        self.arbiter = 0

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start every command, or one more of its own."""
        commands = [list(arguments)] if arguments else self.commands
        for command in commands:
            with open(self._output, "ab") as output:
                process = subprocess.Popen(
                    command,
                    cwd=self.directory,
                    env={**self.environment, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self.arbiter = process.pid
            self._sessions.add(process.pid)
            self._started.append(process)
        return self._started[-1]

    def __enter__(self) -> Fleet:
        self.start()
        return self

    def process(self, number: int = 0) -> subprocess.Popen[bytes]:
        """The process of one of the commands."""
        return self._started[number]

    def output(self) -> str:
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def notes(self) -> list[Note]:
        """What was noted; of an example, what it said."""
        said = _SAYS_WHO_LEADS.findall(self.output())
        if not said:
            return super().notes()
        notes: list[Note] = []
        for pid, term in said:
            event = "tick" if notes and notes[-1].term == int(term) else "start"
            notes.append(Note(event, int(pid), int(term), 0))
        return notes

    def leaders(self) -> set[int]:
        """Those that hold the lock, by the kernel."""
        return (
            {pid for pid, waits in flocks_of(self.lock) if not waits} if self.lock.exists() else set()
        )

    def until_standing(self, number: int, *, without: Iterable[int] = ()) -> set[int]:
        """Wait until so many processes stand and one of them says that it leads; who they are."""
        gone = set(without)

        def look() -> set[int]:
            now = self.candidates()
            return now if len(now) == number and not now & gone else set()

        found = until(look, f"{number} candidates but {gone}")
        self.leader(among=found)
        return found

    def check_failover(self, standing: int, *, replaced: bool = False) -> None:
        """Kill the leader, thrice; another one of those who stood leads after it, alone.

        `standing` is how many stand; of these one less each time, unless the dead are `replaced`.
        """
        for turn in range(min(3, standing - 1)):
            stood = self.until_standing(standing if replaced else standing - turn)
            first = self.leader()
            assert self.leaders() == {first.pid}
            with without_a_successor(first.pid) if replaced else contextlib.nullcontext():
                os.kill(first.pid, 9)
                second = self.leader(not_among=[first.pid])
            assert second.pid in stood
            assert second.term == first.term + 1
            until(lambda before=first.pid: self.leaders() - {before}, "the kernel's table to follow")  # type: ignore[misc]
            assert self.leaders() == {second.pid}
        self.check_one_leader_at_any_time()

    def check_shutdown(self, *, statuses: Iterable[int] = (0,)) -> None:
        """Ask the first command to end: it does, and each of its terms has ended in good order."""
        self.leader()
        before = len(history_of(self.lock).terms)
        self.process().send_signal(signal.SIGTERM)
        assert self.process().wait(60) in statuses
        until(lambda: not self.processes(), "the rest of it to end")
        terms = history_of(self.lock).terms[before - 1 :]
        assert {term.ended for term in terms} <= {"resigned", "exited"}, terms


def edit(module: Path) -> None:
    """Change a module as an editor does."""
    later = module.stat().st_mtime_ns + 2_000_000_000
    os.utime(module, ns=(later, later))


_PORTS_EACH = 1000
_numbers = itertools.count()


def free_port() -> int:
    """A port that nobody listens on, nor will, though it is to be bound some time later.

    Each of pytest's workers has ports of its own, of those that the kernel gives to nobody who asks for
    any (/proc/sys/net/ipv4/ip_local_port_range).
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 20000 + worker * _PORTS_EACH + next(_numbers) % _PORTS_EACH
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def get_page(port: int, path: str = "/") -> str:
    """What a server on this port answers, once it does."""
    answers: list[str] = []

    def ask() -> bool:
        address = f"http://127.0.0.1:{port}{path}"
        refusals = (urllib.error.URLError, ConnectionError, TimeoutError)
        with contextlib.suppress(*refusals), urllib.request.urlopen(address, timeout=30) as answer:
            answers.append(answer.read().decode())
        return bool(answers)

    until(ask, f"port {port} to answer")
    return answers[0]
