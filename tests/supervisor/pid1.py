"""`leaderlock` as the supervisor's tests run it: from outside, and as PID 1 of a namespace."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest

from tests.processes import PATIENCE, until

LEADERLOCK = [sys.executable, "-m", "leaderlock"]
IN_NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
CATCHER = [sys.executable, "-S", str(Path(__file__).with_name("catcher.py"))]


def _namespaces_work() -> bool:
    try:
        return subprocess.run([*IN_NAMESPACE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not _namespaces_work(), reason="unshare(1) may not make a PID namespace here"
)


_Running = TypeVar("_Running", bound="Running")


class Running:
    """A program that runs, `leaderlock` if nothing else is said; `with` kills what is left of it.

    Args:
        arguments: its command line.
        as_pid1: whether it is PID 1 of a PID namespace of its own.
        program: what runs in place of leaderlock.
        environment: variables in addition to ours.
    """

    def __init__(
        self,
        *arguments: str,
        as_pid1: bool = False,
        program: Sequence[str] = LEADERLOCK,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._as_pid1 = as_pid1
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed at the end of `with`)
        self.process = subprocess.Popen(
            [*(IN_NAMESPACE if as_pid1 else []), *program, *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **(environment or {})},
            pass_fds=pass_fds,
            start_new_session=True,  # what it leaves behind can be found
        )
        self._received = b""
        self._eof = False

    @property
    def pid(self) -> int:
        """The program's process ID, as seen from here."""
        if not self._as_pid1:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until(children.read_text, "unshare to fork")
        return int(children.read_text().split()[0])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def close_input(self) -> None:
        """End its standard input, which is a pipe of ours."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line of its output; an empty one at its end."""
        assert self.process.stdout is not None
        while b"\n" not in self._received and not self._eof:
            if not select.select([self.process.stdout], [], [], timeout)[0]:
                raise TimeoutError(f"no line within {timeout} s; it said: {self.said()}")
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            self._eof = not chunk
            self._received += chunk
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def lines(self, number: int) -> list[str]:
        return [self.line() for _ in range(number)]

    def rest(self) -> list[str]:
        """All further lines, until its output is closed."""
        found = []
        while line := self.line():
            found.append(line)
        return found

    def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit status."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it has not ended; it said: {self.said()}") from None

    def said(self) -> str:
        """What it has written to standard error so far."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def until_said(self, text: str) -> None:
        until(lambda: text in self.said(), f"{text!r} in {self.said()!r}")

    def __enter__(self: _Running) -> _Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        while left := in_session(self.process.pid):  # one of them may be about to fork
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._errors.close()


def run(
    *arguments: str,
    as_pid1: bool = False,
    program: Sequence[str] = LEADERLOCK,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [*(IN_NAMESPACE if as_pid1 else []), *program, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
    )


def in_session(session: int) -> list[int]:
    """The living processes of a session, which is a namespace's first one too if it began there."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = Path(f"/proc/{entry}/stat").read_bytes()
                state, _, _, owner, *_ = stat[stat.rindex(b")") + 2 :].split()
                if int(owner) == session and state not in (b"Z", b"X"):
                    found.append(int(entry))
    return found


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    """R, S, T, Z..., or nothing if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return chr(stat[stat.rindex(b")") + 2])


def zombies_of(pid: int) -> list[int]:
    return [child for child in children_of(pid) if state_of(child) == "Z"]


def until_ended(pid: int) -> None:
    """Wait until a process, which need not be our child, is gone or a zombie."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], PATIENCE)[0], f"process {pid} lives on"
    finally:
        os.close(fd)
