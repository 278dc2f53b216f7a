"""`leaderlock status --watch` shows each change when it happens, and costs nothing in between."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from leaderlock import LeaderLock
from tests.locked_files import Queue
from tests.processes import PATIENCE, Child, holder, until
from tests.test_run import LEADERLOCK


class Watching:
    """A `leaderlock status --json --watch`, whose lines are read."""

    def __init__(self, *paths: str | Path, environment: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [*LEADERLOCK, "status", "--json", "--watch", *paths],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self._received = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def next(self, seconds: float = PATIENCE) -> dict[str, Any] | None:
        """The next document; None if none comes for so long."""
        assert self._process.stdout is not None
        while b"\n" not in self._received:
            if not select.select([self._process.stdout], [], [], seconds)[0]:
                return None
            self._received += os.read(self._process.stdout.fileno(), 1 << 20)
        line, _, self._received = self._received.partition(b"\n")
        document: dict[str, Any] = json.loads(line)
        return document

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first document from here on whose only lock is as wanted."""
        while True:
            document = self.next()
            assert document is not None, "no such change was shown"
            if len(document["locks"]) == 1 and condition(document["locks"][0]):
                lock: dict[str, Any] = document["locks"][0]
                return lock

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        self._process.send_signal(number)
        _, errors = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, errors.decode()


@contextmanager
def watching(*paths: str | Path) -> Iterator[Watching]:
    watched = Watching(*paths)
    try:
        yield watched
    finally:
        watched._process.kill()
        watched._process.communicate()


def leads(pid: int) -> Callable[[dict[str, Any]], object]:
    return lambda lock: lock["holder"] is not None and lock["holder"]["pid"] == pid


def test_each_change_is_shown_as_one_line(path: Path) -> None:
    with holder(path) as first, watching(path) as watched, Child(path) as second:
        watched.until(lambda lock: leads(first.pid)(lock) and not lock["waiting"])
        second.tell("lock = LeaderLock(argv[0])")
        second.begin("lock.acquire()")
        watched.until(lambda lock: [process["pid"] for process in lock["waiting"]] == [second.pid])
        first.kill()
        assert second.answer() is True
        lock = watched.until(leads(second.pid))
        assert lock["holder"]["term"] in (None, 2)  # None until it has written its record
        second.tell("lock.release()")
        watched.until(lambda lock: lock["holder"] is None)


def test_one_who_leaves_the_queue_is_shown(path: Path) -> None:
    with holder(path), Queue(path, 3) as queue, watching(path) as watched:
        watched.until(lambda lock: len(lock["waiting"]) == 3)
        middle = queue.pids[1]
        queue.end(middle)
        rest = list(queue.pids)
        watched.until(lambda lock: [process["pid"] for process in lock["waiting"]] == rest)


def test_an_anonymous_lock_can_be_watched_through_its_holder() -> None:
    lock = LeaderLock.anonymous(name="watched")
    lock.acquire()
    fd = lock.fileno()
    with watching(f"/proc/{os.getpid()}/fd/{fd}") as watched:
        watched.until(leads(os.getpid()))
        lock.release()
        document = watched.next()
        while document is not None and document["locks"] and document["locks"][0]["holder"]:
            document = watched.next()
        assert document is not None


def test_a_file_that_is_deleted_and_made_anew_is_shown(path: Path) -> None:
    with holder(path) as first, watching(path) as watched:
        watched.until(leads(first.pid))
        path.unlink()
        lock = watched.until(lambda lock: lock["warnings"])
        assert lock["warnings"][0]["code"] == "file-deleted"
        with holder(path) as second:
            lock = watched.until(leads(second.pid))
            assert lock["warnings"][0]["code"] == "file-deleted"


def test_a_file_that_comes_later_is_shown(path: Path) -> None:
    with watching(path) as watched:
        document = watched.next()
        assert document is not None
        assert document["locks"] == []
        with holder(path) as leader:
            watched.until(leads(leader.pid))


def test_a_stopped_leader_is_shown_though_no_event_tells(path: Path) -> None:
    with holder(path) as leader, watching(path) as watched:
        watched.until(leads(leader.pid))
        leader.signal(signal.SIGSTOP)
        lock = watched.until(lambda lock: lock["warnings"])
        assert lock["warnings"][0]["code"] == "leader-stopped"


def test_without_a_change_nothing_is_shown(path: Path) -> None:
    with holder(path) as leader, watching(path) as watched:
        watched.until(leads(leader.pid))
        for number in range(20):  # others in the same directory, and looks at the file
            (path.parent / f"other{number}").touch()
            path.stat()
        assert watched.next(3) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_ends_it_cleanly(path: Path, number: signal.Signals, options: list[str]) -> None:
    with holder(path):
        process = subprocess.Popen(
            [*LEADERLOCK, "status", "--watch", *options, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")


def test_without_a_terminal_there_is_a_block_for_each_change(path: Path) -> None:
    with holder(path) as leader:
        process = subprocess.Popen(
            [*LEADERLOCK, "status", "--watch", path], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[0].startswith("--- 20")
        assert lines[1] == f"{path}\n"
        assert lines[2].startswith(f"  leader   {leader.pid}  ")
        leader.kill()
        while "leader   nobody" not in process.stdout.readline():
            pass
        process.kill()
        process.communicate()


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *arguments: str | Path, columns: int = 100) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES="40")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [*LEADERLOCK, "status", *map(str, arguments)])
        self.shown = b""

    def read_until(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.shown:
            assert select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0], (
                self.shown.decode()
            )
            try:
                self.shown += os.read(self._fd, 65536)
            except OSError:  # EIO: it has ended
                break
        assert text.encode() in self.shown, self.shown.decode()

    def end(self) -> int:
        while True:
            try:
                piece = os.read(self._fd, 65536)
            except OSError:  # EIO: it has ended
                break
            self.shown += piece
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_on_a_terminal_it_is_drawn_and_nothing_of_others_reaches_it_raw(tmp_path: Path) -> None:
    name = "[bold red]markup[bold] \x1b]0;owned\x07.lock"
    with holder(tmp_path / name) as leader:
        terminal = Terminal(tmp_path / name, columns=200)
        terminal.read_until("╰")
        assert terminal.end() == 0
        text = terminal.shown.decode()
    assert "[bold red]markup[bold]" in text
    assert r"\x1b]0;owned\x07" in text
    assert "\x1b]0" not in text
    assert str(leader.pid) in text


def test_on_a_terminal_watch_redraws_and_leaves_it_as_it_was(path: Path) -> None:
    with holder(path) as leader:
        terminal = Terminal("--watch", path)
        terminal.read_until(str(leader.pid))
        leader.kill()
        terminal.read_until("nobody")
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.end() == 0
    assert terminal.shown.count(b"\x1b[?1049h") == terminal.shown.count(b"\x1b[?1049l") == 1
    assert terminal.shown.rindex(b"\x1b[?25h") > terminal.shown.rindex(b"\x1b[?25l")


@pytest.mark.slow
@pytest.mark.alone
def test_between_events_it_looks_every_other_second_alone(path: Path) -> None:
    with holder(path) as leader, watching(path) as watched:
        watched.until(leads(leader.pid))
        assert_it_is_calm(watched)


@pytest.mark.slow
@pytest.mark.alone
def test_a_leader_that_nobody_waited_for_keeps_it_no_busier(path: Path) -> None:
    """Its pidfd stays readable, and its lock is kept by a child: it stands in the table."""
    program = (
        "import subprocess, sys; from leaderlock import LeaderLock\n"
        "lock = LeaderLock(sys.argv[1]); lock.acquire()\n"
        "child = subprocess.Popen(['sleep', '1000'], pass_fds=[lock.fileno()], stdout=2)\n"
        "print(child.pid, flush=True); sys.stdin.read()"
    )
    leader = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert leader.stdout is not None
    orphan = int(leader.stdout.readline())
    try:
        with watching(path) as watched:
            watched.until(leads(leader.pid))
            leader.kill()
            lock = watched.until(lambda lock: lock["warnings"])
            assert lock["warnings"][0]["code"] == "kept-by-orphan"
            assert lock["holder"]["state"] == "Z"
            assert_it_is_calm(watched)
    finally:
        os.kill(orphan, signal.SIGKILL)
        leader.communicate()


def assert_it_is_calm(watched: Watching) -> None:
    # The looks that follow an event are over when it has not woken for longer than between them.
    last = [wakeups(watched.pid), time.monotonic()]

    def is_calm() -> bool:
        now = wakeups(watched.pid)
        if now != last[0]:
            last[:] = [now, time.monotonic()]
        return time.monotonic() - last[1] > 1

    until(is_calm, "it to be calm")
    before = wakeups(watched.pid)
    begin = time.monotonic()
    assert watched.next(6) is None
    # Other tests look at this file, too, when they list all locks, and each look is an event.
    assert wakeups(watched.pid) - before <= 50 * (time.monotonic() - begin)


def wakeups(pid: int) -> int:
    """How often it went to sleep by itself."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in text.splitlines() if line.startswith("voluntary_ctxt"))
    return int(line.split()[1])


def test_a_ctrl_c_that_python_drops_in_a_finalizer_ends_it_at_the_next_look(path: Path) -> None:
    """What a signal's handler raises within `__del__` is printed and forgotten."""
    source = (
        "import os, signal, sys\n"
        "from leaderlock.cli import status_watch\n"
        "class Interrupted:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT); len('it runs')\n"
        "look = status_watch.Watcher.look\n"
        "def look_and_collect(watcher):\n"
        "    Interrupted()\n"
        "    return look(watcher)\n"
        "status_watch.Watcher.look = look_and_collect\n"
        "sys.exit(status_watch.watch(sys.argv[1:], True, False))\n"
    )
    with holder(path):
        result = subprocess.run(
            [sys.executable, "-c", source, path], capture_output=True, text=True, timeout=PATIENCE
        )
    assert result.returncode == 0
    assert "Exception ignored" in result.stderr  # so that the test is about what it says
    assert len(result.stdout.splitlines()) == 1
