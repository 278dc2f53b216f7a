"""Keepers, seen from outside: what the tests of this directory ask the kernel about them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.processes import PATIENCE, Child

CAN_HAVE_KEEPERS = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
NAME = "leaderlock-keep"
SOURCES = Path(__file__).parents[2] / "native" / "keeper"


def name_of(pid: int) -> str:
    """The kernel's name of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def keepers_of(pid: int) -> list[int]:
    """The keepers among a process's children, also those that have ended and are not reaped."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text(encoding="ascii")
            found += [child for child in map(int, children.split()) if name_of(child) == NAME]
    return sorted(found)


def status_of(pid: int) -> dict[str, str]:
    """proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class End:
    """The end of a process, to wait for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Whether the process ends within so many seconds."""
        return bool(select.select([self._fd], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def end_of(pid: int) -> Iterator[End]:
    end = End(pid)
    try:
        yield end
    finally:
        end.close()


_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17


@contextlib.contextmanager
def held(pid: int) -> Iterator[None]:
    """Hold a process as a debugger does: no signal but SIGKILL has it go on (ptrace(2))."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    assert ptrace(_PTRACE_ATTACH, pid, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(pid, _WALL)
    try:
        yield
    finally:
        ptrace(_PTRACE_DETACH, pid, None, None)


_WALL = 0x40000000


def keeping(*arguments: str | os.PathLike[str], program: Path | None = None) -> tuple[Child, int]:
    """A child with a keeper, made by the module itself, and the keeper's process ID."""
    child = Child(*arguments, program=program)
    child.tell("import leaderlock_native as native, subprocess, ctypes, resource, gc")
    return child, child.tell("native.start()")
