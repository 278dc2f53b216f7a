"""What a round needs of the machine: a small file system, a control group; and its processes' end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x20000


def own_mounts() -> bool:
    """Take a mount namespace: what is mounted from now on goes with this process, however that ends."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(_CLONE_NEWNS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True).returncode == 0


class SmallDisk:
    """A tmpfs of 256 KiB, that can be filled; only in a mount namespace of one's own.

    Args:
        directory: where to mount it; made.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(directory)]
        subprocess.run(command, check=True)
        self._filler = directory / "filler"

    def fill(self) -> None:
        """Leave no space."""
        fd = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):  # ENOSPC
                    while True:
                        os.write(fd, bytes(size))
        finally:
            os.close(fd)

    def empty(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.directory], check=True)


class MemoryGroup:
    """A control group whose memory can be made scarce; version 1 or 2, whichever may be written to."""

    def __init__(self, name: str) -> None:
        self.path: Path | None = None
        for parent, limit, usage in (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ):
            path = Path(parent, name)
            try:
                path.mkdir()
            except OSError:  # read-only, as in most containers; or no such hierarchy
                continue
            if (path / limit).exists():
                self.path, self._limit, self._usage = path, path / limit, path / usage
                self._none = "-1" if "memory.limit" in limit else "max"
                return
            path.rmdir()

    @property
    def processes(self) -> str:
        """The file to which a process writes 0 to be in the group; empty if there is no group."""
        return "" if self.path is None else str(self.path / "cgroup.procs")

    def squeeze(self, megabytes: int) -> None:
        """Leave so much memory above what is used now."""
        if self.path is not None:
            usage = int(self._usage.read_text(encoding="ascii"))
            with contextlib.suppress(OSError):  # EBUSY
                self._limit.write_text(str(usage + (megabytes << 20)), encoding="ascii")

    def release(self) -> None:
        """Lift the limit."""
        if self.path is not None:
            self._limit.write_text(self._none, encoding="ascii")

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        if self.path is not None:
            self.path.rmdir()


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; False if the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
