"""Real uWSGI servers, from PyPI and from Debian, and what their task has written.

`LEADERLOCK_TEST_UWSGI` names another uWSGI than that of `pyuwsgi`, an older one, say.

    python -m tests.integrations.uwsgi_server

measures the failover of each of them: see `measure_failover`.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integrations.server import _processes
from tests.processes import flocks_of, until, without_a_successor

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"
PROCESSES = 3
ACCEPTS = "this worker accepts requests"
"""In the log once a worker has set its signal handlers, which is after the post-fork hook."""

OSAFTERFORK = {} if sys.version_info >= (3, 13) else {"py-call-osafterfork": ["--py-call-osafterfork"]}
"""With it, each worker of PyPI's uWSGI dies at once under Python 3.13, also without leaderlock:
test_uwsgi.py::test_py_call_osafterfork_without_leaderlock_ends_the_workers_from_python_3_13_on."""

MODES = {
    "loaded by the master": [],
    "lazy-apps": ["--lazy-apps"],
    **OSAFTERFORK,
    **{f"lazy-apps and {mode}": ["--lazy-apps", *options] for mode, options in OSAFTERFORK.items()},
}
in_each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


class Build(NamedTuple):
    """One uWSGI: its program, what it needs on its command line, and whether all is built in."""

    program: Path
    options: list[str]
    environment: dict[str, str]
    is_whole: bool

    def plugin(self, name: str) -> list[str]:
        """What loads a plugin, where it is not built in."""
        return [] if self.is_whole else ["--plugin", name]

    @property
    def version(self) -> tuple[int, ...]:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=True)
        return tuple(int(number) for number in said.stdout.strip().partition("-")[0].split("."))


def _from_pypi() -> Build:
    program = Path(os.environ.get("LEADERLOCK_TEST_UWSGI", Path(sys.executable).with_name("uwsgi")))
    script = program.read_bytes()[:200].partition(b"\n")[0]
    # A reload executes the interpreter, but not the venv's by itself.
    options = ["--binary-path", os.fsdecode(script[2:].strip())] if script.startswith(b"#!") else []
    return Build(program, options, {}, is_whole=True)


def _from_debian() -> Build:
    """Its Python is Debian's own, to which leaderlock is not installed."""
    return Build(
        Path("/usr/bin/uwsgi-core"),
        ["--plugin", "python3"],
        {"PYTHONPATH": str(ROOT / "src")},
        is_whole=False,
    )


BUILDS = {"pypi": _from_pypi, "debian": _from_debian}


class Event(NamedTuple):
    pid: int
    term: int
    time: float
    what: str


class Server:
    """A uWSGI server in a session of its own, its log, and what its task has written."""

    def __init__(self, directory: Path, build: Build, arguments: list[str], processes: int) -> None:
        self.build = build
        self.directory = directory
        self.lock = directory / "leader.lock"
        self.processes = processes
        self._task_log = directory / "task.log"
        self._server_log = directory / "uwsgi.log"
        self._socket = directory / "http"
        self._has_gevent = "--gevent" in arguments
        self._seen: set[int] = set()
        self._sessions: set[int] = set()
        self._command = [
            *(str(build.program), *build.options, *arguments),
            *("--hook-accepting", f"print:{ACCEPTS}"),
        ]
        self._environment = {
            **os.environ,
            **build.environment,
            "EXAMPLE_LOCK": str(self.lock),
            "EXAMPLE_LOG": str(self._task_log),
            "EXAMPLE_SECONDS": "0.02",
            "EXAMPLE_SOCKET": str(self._socket),
        }
        self.start()

    def start(self) -> None:
        with open(self._server_log, "ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._sessions.add(self.process.pid)

    def end(self) -> None:
        until(self._are_killed, "all processes to end")
        self.process.wait()

    def _are_killed(self) -> bool:
        """Kill what lives; again, since the master may have forked while it was being looked for."""
        alive = self.alive()
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not alive

    def alive(self) -> set[int]:
        """All its processes, zombies left out."""
        return {pid for pid, _, session in _processes() if session in self._sessions}

    @property
    def log(self) -> str:
        return self._server_log.read_text(errors="replace")

    def logs(self, *texts: str) -> None:
        """Wait until its log holds all of these."""
        until(lambda: all(text in self.log for text in texts), f"{texts} in the log:\n{self.log}")

    def candidates(self) -> set[int]:
        """The PIDs of those that hold the lock or wait for it."""
        return {pid for pid, _ in flocks_of(self.lock)} if self.lock.exists() else set()

    def mules(self) -> set[int]:
        """The PIDs of all mules that there ever were."""
        return {int(pid) for pid in re.findall(r"spawned uWSGI mule \d+ \(pid: (\d+)\)", self.log)}

    def accepted(self) -> int:
        """How many workers have begun to accept requests, since the start."""
        return self.log.splitlines().count(ACCEPTS)

    def stand(self, number: int, *, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        """Wait until so many stand for election, and none of these; the PIDs of all.

        And until those that are workers accept requests, since a signal to one that does not is lost:
        a master whom one tells to reload, say, would then wait for its end for good.
        """

        def look() -> set[int]:
            now = self.candidates()
            stand = (
                len(now) == number
                and not now & without
                and self.accepted() >= len((self._seen | now) - self.mules())
                and (not self._has_gevent or all(map(self._polls, now)))
            )
            return now if stand else set()

        now = until(look, f"{number} candidates without {without}")
        self._seen |= now
        return now

    def _polls(self, pid: int) -> bool:
        """Whether gevent's loop runs there: it has handlers of its own, set after all else."""
        sockets = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
        listens = "00010000"
        [inode] = [int(s[6]) for s in sockets if s[7:] == [str(self._socket)] and s[3] == listens]
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # proc_pid_fdinfo(5): what an epoll descriptor waits for.
            return any(
                f" ino:{inode:x} " in (Path(f"/proc/{pid}/fdinfo") / name).read_text()
                for name in os.listdir(f"/proc/{pid}/fdinfo")
            )
        return False

    def complete(self, *, without: set[int] = frozenset()) -> set[int]:  # type: ignore[assignment]
        """The same, of all workers."""
        return self.stand(self.processes, without=without)

    def events(self) -> list[Event]:
        if not self._task_log.exists():
            return []
        complete_lines, _, _ = self._task_log.read_text().rpartition("\n")
        rows = (line.split() for line in complete_lines.splitlines())
        return [Event(int(pid), int(term), float(time), what) for pid, term, time, what in rows]

    def leader(self, *, after: int = 0, among: set[int] | None = None) -> Event:
        """Wait until the last start of the task is of a later term, and by one of these; that start."""
        found: list[Event] = []

        def look() -> bool:
            found[:] = [event for event in self.events() if event.what == "start"][-1:]
            return bool(found) and found[0].term > after and (among is None or found[0].pid in among)

        until(look, f"a leader after term {after} among {among or 'all'}")
        return found[0]

    def until_stopped(self, term: int) -> None:
        """Wait until the task of a term has ended in good order."""
        until(lambda: any(e.term == term and e.what == "stop" for e in self.events()), "the stop")

    def get(self, path: str = "/") -> int:
        """The PID of the worker that answers a request."""
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        with contextlib.closing(connection):
            connection.sock.connect(str(self._socket))
            connection.request("GET", path)
            return int(connection.getresponse().read())

    def serve_until_gone(self, pid: int) -> None:
        """Ask again and again until this worker has served as many requests as it may."""
        for _ in range(1000):
            if pid not in self.candidates():
                return
            # Its other thread may have just accepted this one, or be half way through the answer.
            with contextlib.suppress(ConnectionError, ValueError):
                self.get()
        raise AssertionError(f"{pid} serves on and on")

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        os.kill(pid, number)

    def tell(self, command: str) -> None:
        """Write a command to the master's FIFO, ``fifo``."""
        fifo = self.directory / "fifo"
        until(fifo.exists, "the FIFO")
        fifo.write_text(command)

    def check_one_at_a_time(self) -> None:
        """No term overlaps another, and none is led twice."""
        events = self.events()
        terms = [list(group) for _, group in itertools.groupby(events, key=lambda e: e.term)]
        assert terms, "nobody led"
        numbers = [group[0].term for group in terms]
        assert numbers == sorted(set(numbers)), "the terms interleave or go back"
        for group in terms:
            assert len({event.pid for event in group}) == 1, f"two led in {group[0].term}"
            assert [event.what for event in group].count("start") == 1
        for before, after in itertools.pairwise(terms):
            assert max(event.time for event in before) < min(event.time for event in after)

    def check_failover(self) -> None:
        """Kill the leader of a complete server: one of those that stood leads, and it alone."""
        stood = self.complete()
        first = self.leader()
        with without_a_successor(first.pid):
            self.kill(first.pid)
            self.leader(after=first.term, among=stood - {first.pid})
        self.complete(without={first.pid})
        self.check_one_at_a_time()


Serve = Callable[..., Server]


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Build:
    """Each uWSGI in turn."""
    found = BUILDS[request.param]()
    if not found.program.exists():
        pytest.skip("Debian's uwsgi-core and uwsgi-plugin-python3 are not installed")
    return found


@pytest.fixture
def serve(tmp_path: Path, build: Build) -> Iterator[Serve]:
    """Start a server with the example's configuration, or with an application of the test's own."""
    started: list[Server] = []

    def start(*arguments: str, app: str | None = None, processes: int = PROCESSES) -> Server:
        if "--gevent" in arguments:
            arguments = (*build.plugin("gevent_python3"), *arguments)
        server = served(tmp_path, build, *arguments, app=app, processes=processes)
        started.append(server)
        return server

    yield start
    for server in started:
        server.end()
        print(server.log)


def served(
    directory: Path, build: Build, *arguments: str, app: str | None = None, processes: int = PROCESSES
) -> Server:
    """A server with the example's configuration, or with an application given as text."""
    if app is None:
        arguments = ("--ini", str(EXAMPLES / "uwsgi.ini"), "-p", str(processes), *arguments)
    else:
        source = f"import os, sys, uwsgi\nsys.path.insert(0, {str(EXAMPLES)!r})\n"
        (directory / "app.py").write_text(source + textwrap.dedent(app))
        arguments = ("--http-socket", str(directory / "http"), "-p", str(processes), *arguments)
        arguments = ("--wsgi-file", "app.py", *arguments)
    return Server(directory, build, list(arguments), processes)


class Failover(NamedTuple):
    """Milliseconds between a SIGKILL and the first line of the next leader's task."""

    median: float
    most: float
    kills: int


def measure_failover(
    build: Build, *arguments: str, kills: int = 20, directory: Path | None = None
) -> Failover:
    """Kill the leader of the example's server again and again, each time when all stand."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = served(directory, build, *arguments)
        stack.callback(server.end)
        milliseconds = []
        term = 0
        dead: set[int] = set()
        for _ in range(kills):
            server.complete(without=dead)
            leader = server.leader(after=term)
            term, dead = leader.term, {leader.pid}
            time.sleep(0.5)  # so that uWSGI is through with the worker that it has started
            killed = time.monotonic()
            server.kill(leader.pid)
            time.sleep(0.2)  # whoever looks meanwhile takes a processor from those who are measured
            milliseconds.append((server.leader(after=term).time - killed) * 1000)
        server.check_one_at_a_time()
    return Failover(statistics.median(milliseconds), max(milliseconds), kills)


def main() -> None:
    for name, make in BUILDS.items():
        build = make()
        if not build.program.exists():
            continue
        gevent = [*build.plugin("gevent_python3"), "--gevent", "10"]
        for mode in ([], ["--lazy-apps"], gevent, ["--threads", "2"]):
            found = measure_failover(build, *mode)
            words = " ".join(mode[-2:]) or "default"
            print(
                f"{name} {'.'.join(map(str, build.version))}, {words}: "
                f"median {found.median:.1f} ms, most {found.most:.1f} ms of {found.kills} kills",
                flush=True,
            )


if __name__ == "__main__":
    main()
