"""flock(2) itself, without leaderlock: what the facts of docs/flock.md are shown with."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path

import pytest

from tests.processes import Child, needs_root, until_parked


def opened(path: Path) -> Child:
    """A process that has opened the file as `fd`, and has the names of fcntl."""
    child = Child(path)
    child.tell("from fcntl import *; fd = os.open(argv[0], os.O_RDWR | os.O_CREAT, 0o644)")
    return child


def locked(path: Path, kind: str = "LOCK_EX") -> Child:
    """A process that holds the lock through `fd`."""
    child = opened(path)
    child.tell(f"flock(fd, {kind})")
    return child


def queued(path: Path, call: str = "flock(fd, LOCK_EX)") -> Child:
    """A process that stands in the kernel's queue for the lock; its answer comes when it has it."""
    child = opened(path)
    child.begin(call)
    until_parked(path, child.pid)
    return child


def takes(file: int, kind: int = LOCK_EX) -> bool:
    """Whether this descriptor gets the lock without waiting."""
    try:
        flock(file, kind | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path, kind: int = LOCK_EX) -> bool:
    """Whether a newcomer would get the lock now."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if takes(fd, kind):
            flock(fd, LOCK_UN)
            return True
        return False
    finally:
        os.close(fd)


def is_held_shared(path: Path) -> bool:
    return is_free(path, LOCK_SH) and not is_free(path)


@contextlib.contextmanager
def mounted_at(place: Path, *arguments: str | Path) -> Iterator[Path]:
    """A file system at that place; skips the test if none may be mounted here."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    place.mkdir(exist_ok=True)
    run = subprocess.run(["mount", *arguments, place], capture_output=True)
    if run.returncode:
        pytest.skip(f"may not mount: {run.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextlib.contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Every write to the file system hangs for the time of the block, as on a disk that is gone."""
    subprocess.run(["fsfreeze", "--freeze", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], check=True)
