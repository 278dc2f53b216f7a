"""A real gunicorn with four workers, and what its task has noted."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from tests.processes import flocks_of, until

HERE = Path(__file__).parent
WORKERS = 4
CUT_OFF = (OSError, http.client.HTTPException, AssertionError, ValueError)
"""What `Server.get` raises where a worker ends while it answers."""

# Not `-m gunicorn`: an upgrade (USR2) starts again what sys.argv[0] names, which would then be a file
# in gunicorn's package, whose own `http` hides the standard library's.
GUNICORN = os.path.join(sysconfig.get_path("scripts"), "gunicorn")

CONFIGURATION = """\
import os
import sys

sys.path.insert(0, {here!r})
os.environ["NOTES"] = {notes!r}

from served import *
from leaderlock.integrations.gunicorn import in_one_worker

control_socket_disable = True  # its default path is the same for all servers of a user
workers = {workers}
timeout = 30
graceful_timeout = 10
post_worker_init = "served.ready"
{more}
"""


class Note(NamedTuple):
    event: str
    pid: int
    term: int
    time: int


_Server = TypeVar("_Server", bound="Server")


class Server:
    """gunicorn in a session of its own, all of whose processes are killed in the end.

    `hook` is the configuration's line for the hook, `settings` are gunicorn's. What it starts runs
    `through` another command, if that is set.
    """

    through: Sequence[str] = ()

    def __init__(
        self,
        directory: Path,
        worker_class: str = "sync",
        hook: str | None = None,
        **settings: object,
    ) -> None:
        self.directory = directory
        self.lock = directory / "leader.lock"
        self._notes = directory / "notes"
        self._log = directory / "error.log"
        self._socket = directory / "http"
        self.configuration = directory / "gunicorn.conf.py"
        hook = hook or f"post_fork = in_one_worker(lead, path={str(self.lock)!r}, backoff=(0.05, 0.2))"
        self.configure(hook, **settings)
        asynchronous = worker_class in ("uvicorn_worker.UvicornWorker", "asgi")
        self._command = [
            *(sys.executable, GUNICORN, "-c", str(self.configuration), "-k", worker_class),
            *("-b", f"unix:{self._socket}", "--error-logfile", str(self._log)),
            f"served:{'asgi' if asynchronous else 'wsgi'}",
        ]
        self._sessions: set[int] = set()
        self._started: list[subprocess.Popen[bytes]] = []
        self.arbiter = 0

    def configure(self, hook: str, **settings: object) -> None:
        more = "\n".join([*(f"{name} = {value!r}" for name, value in settings.items()), hook])
        self.configuration.write_text(
            CONFIGURATION.format(here=str(HERE), notes=str(self._notes), workers=WORKERS, more=more)
        )

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        with open(self.directory / "output", "ab") as output:
            process = subprocess.Popen(
                [*self.through, *self._command, *arguments],
                cwd=self.directory,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.arbiter = process.pid
        self._sessions.add(process.pid)
        self._started.append(process)
        return process

    @contextlib.contextmanager
    def started(self: _Server) -> Iterator[_Server]:
        """Start it, and wait for nothing."""
        try:
            self.start()
            yield self
        finally:
            self.__exit__(*sys.exc_info())

    def __enter__(self) -> Server:
        self.start()
        try:
            self.until_complete()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        until(self._are_killed, "the server's processes to end")
        for process in self._started:
            process.wait()
        if kind is not None:  # pytest shows it with a failure
            print(self.log(), self.output(), sep="\n")

    def _are_killed(self) -> bool:
        """Kill what lives; again, since the arbiter may have forked while it was being looked for."""
        alive = self.processes()
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not alive

    def watch(self, pid: int) -> None:
        """Take a daemon's session as the server's, so that it is ended too."""
        self._sessions.add(os.getsid(pid))

    def processes(self) -> set[int]:
        """All that live, zombies left out."""
        return {pid for pid, _, session in _processes() if session in self._sessions}

    def workers(self, arbiter: int | None = None) -> set[int]:
        parent_wanted = arbiter or self.arbiter
        return {pid for pid, parent, _ in _processes() if parent == parent_wanted}

    def notes(self) -> list[Note]:
        try:
            text = self._notes.read_text()
        except FileNotFoundError:
            return []
        complete = text[: text.rfind("\n") + 1]
        rows = (line.split() for line in complete.splitlines())
        return [Note(event, int(pid), int(term), int(time)) for event, pid, term, time in rows]

    def terms(self) -> list[Note]:
        """The first note of each term."""
        return [note for note in self.notes() if note.event == "start"]

    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def output(self) -> str:
        return (self.directory / "output").read_text()

    def leader(self, among: Iterable[int] | None = None, *, not_among: Iterable[int] = ()) -> Note:
        """Wait until a worker that lives leads, and notes so from now on; its last note."""
        allowed = None if among is None else set(among)
        seen = len(self.notes())
        found: list[Note] = []

        def leads() -> bool:
            found[:] = [note for note in self.notes()[seen:] if note.event in ("start", "tick")][-1:]
            return bool(
                found
                and (allowed is None or found[0].pid in allowed)
                and found[0].pid not in set(not_among)
            )

        until(leads, f"a leader among {allowed or 'all'} but {set(not_among)}")
        return found[0]

    def candidates(self) -> set[int]:
        """Those that hold the lock or wait for it, by the kernel."""
        return {pid for pid, _ in flocks_of(self.lock)} if self.lock.exists() else set()

    def until_complete(self, number: int = WORKERS) -> None:
        """Wait until all workers stand and are ready, and one leads.

        A signal to a worker that is not ready is lost: gunicorn's own handlers are in place later than
        the campaign.
        """
        until(lambda: len(self._standing_and_ready()) >= number, f"{number} workers to stand")
        self.leader()

    def _standing_and_ready(self) -> set[int]:
        return self.candidates() & {note.pid for note in self.notes() if note.event == "ready"}

    def until_gone(self, pids: Iterable[int]) -> None:
        gone = set(pids)
        until(lambda: not gone & {pid for pid, _, _ in _processes()}, f"{gone} to end")

    def get(self, path: str = "/", timeout: float = 30) -> int:
        """The PID of the worker that answers."""
        connection = _Connection(str(self._socket), timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            assert response.status == 200
            return int(response.read())
        finally:
            connection.close()

    def check_one_leader_at_any_time(self) -> None:
        """No note of an earlier term after one of a later term; every term by one process alone."""
        notes = [note for note in self.notes() if note.event in ("start", "tick", "stop")]
        terms = [note.term for note in notes]
        assert terms == sorted(terms), "two led at a time"
        pids: dict[int, int] = {}
        for note in notes:
            assert pids.setdefault(note.term, note.pid) == note.pid, f"two led in term {note.term}"
        starts = [note.term for note in notes if note.event == "start"]
        assert len(starts) == len(set(starts)), "a term began twice"
        assert set(starts) == set(terms)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _processes() -> list[tuple[int, int, int]]:
    """PID, parent and session of each process that is no zombie."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] not in "ZX":
                found.append((int(name), int(fields[1]), int(fields[3])))
    return found
