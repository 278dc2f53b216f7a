"""Real file systems to lock files on, and queues of real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import needs_root

KINDS = ("ext4", "tmpfs", "overlay", "btrfs")


@contextlib.contextmanager
def mounted(kind: str, directory: Path, place: str = "mounted") -> Iterator[Path]:
    """A new file system of a kind, mounted in a directory; unmounted whatever happens."""
    if os.geteuid() != 0:
        pytest.skip(needs_root)
    with contextlib.ExitStack() as stack:
        if kind == "overlay":
            # Layers on two file systems, where the kernel's own numbers are not stat(2)'s.
            lower = stack.enter_context(mounted("tmpfs", directory, f"{place}.lower"))
            upper = stack.enter_context(mounted("tmpfs", directory, f"{place}.upper"))
            (upper / "files").mkdir()
            (upper / "work").mkdir()
            layers = f"lowerdir={lower},upperdir={upper}/files,workdir={upper}/work"
            words = ["-t", "overlay", "-o", layers, "overlay"]
        elif kind == "tmpfs":
            words = ["-t", "tmpfs", "-o", "size=16m", "tmpfs"]
        else:
            image = directory / f"{place}.image"
            with open(image, "wb") as file:
                file.truncate(160 << 20)  # holes: it takes next to nothing
            force = "-F" if kind == "ext4" else "-f"
            subprocess.run([f"mkfs.{kind}", "-q", force, image], check=True, capture_output=True)
            words = ["-t", kind, "-o", "loop", str(image)]
        point = directory / place
        point.mkdir()
        run = subprocess.run(["mount", *words, point], capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"this kernel does not mount {kind} here: {run.stderr.strip()}")
        stack.callback(lambda: subprocess.run(["umount", "-l", point], check=True))
        yield point


@pytest.fixture(params=KINDS)
def filesystem(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on each of the file systems; on btrfs inside a subvolume."""
    kind: str = request.param
    with mounted(kind, tmp_path) as point:
        if kind == "btrfs":
            subprocess.run(
                ["btrfs", "subvolume", "create", point / "inside"], check=True, capture_output=True
            )
            yield point / "inside"
        else:
            yield point


_PROGRAM = """
import fcntl, os, signal, sys
path, count = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGCHLD, signal.SIG_IGN)

def waits(pid):
    # In the table, which is long: as bytes, and only the waiters' lines.
    with open("/proc/locks", "rb", buffering=0) as file:
        return any(b"->" in line for line in file.read().split(b"\\n") if b" %d " % pid in line)

for _ in range(count):
    pid = os.fork()
    if pid == 0:
        fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
        os.write(1, b"%d\\n" % os.getpid())
        signal.pause()
    # The order is that of the calls of flock(2): none may begin before the one ahead waits.
    while not waits(pid):
        os.sched_yield()
    os.write(1, b"%d\\n" % pid)
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""


class Queue:
    """Processes that wait for a file's lock, in their order; each holds it until it is ended."""

    def __init__(self, path: Path, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, path, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.pids = [self.next() for _ in range(count)]

    def next(self) -> int:
        """Wait for the next one that gets the lock."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.pids.remove(pid)

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
