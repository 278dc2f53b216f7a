"""A real systemd, booted as PID 1 of namespaces of its own, with a journal."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

from tests.processes import PATIENCE, until

BOOT = Path(__file__).with_name("boot-systemd")
CHECKOUT = Path(__file__).parent.parent.parent

# Without the default dependencies a unit needs nothing of a machine's boot.
_TARGET = """\
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service booted.service
"""
_BOOTED = """\
[Unit]
DefaultDependencies=no
After=systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo booted >/run/shared/booted'
"""


def why_not() -> str | None:
    """Why systemd cannot be booted here, or None if it can."""
    if os.geteuid() != 0:
        return "only root can boot systemd"
    for program in ("unshare", "setpriv", "nsenter", "journalctl", "systemctl"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not os.access("/lib/systemd/systemd", os.X_OK):
        return "systemd is not installed"
    allowed = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "cgroup2", "cgroup2", "/mnt"],
        capture_output=True,
        text=True,
    )
    if allowed.returncode != 0:  # an ordinary container
        return f"namespaces and mounts are not allowed: {allowed.stderr.strip()}"
    return None


class Systemd:
    """Boots with the `with` statement; `shared` is a directory that it sees as /run/shared."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self._units = shared / "units"
        self._units.mkdir()
        self._read = ""

    def __enter__(self) -> Systemd:
        (self._units / "test.target").write_text(_TARGET)
        (self._units / "booted.service").write_text(_BOOTED)
        os.mkfifo(self.shared / "booted")
        booted = os.open(self.shared / "booted", os.O_RDWR | os.O_CLOEXEC)
        log = (self.shared / "boot.log").open("wb")
        # Whatever ends pytest ends systemd, too.
        self._boot = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"),
                *(str(BOOT), str(self.shared), str(CHECKOUT)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        ended = os.pidfd_open(self._boot.pid)
        try:
            ready = select.select([booted, ended], [], [], PATIENCE)[0]
            assert booted in ready, (self.shared / "boot.log").read_text()
            [unshare] = _children(self._boot.pid)
            [self.pid] = _children(unshare)
        except BaseException:
            self._boot.kill()
            self._boot.wait()
            raise
        finally:
            os.close(booted)
            os.close(ended)
        self._journal = subprocess.Popen(
            self._inside("journalctl", "--follow", "--no-tail", "--output", "cat"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, 9)  # and the kernel kills all that is in there
        self._boot.wait(PATIENCE)
        self._journal.wait(PATIENCE)
        assert self._journal.stdout is not None
        self._journal.stdout.close()

    def add(self, name: str, text: str) -> None:
        """Write a unit, or a drop-in (``name.service.d/x.conf``)."""
        path = self._units / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.systemctl("daemon-reload")

    def systemctl(self, *arguments: str) -> str:
        """What systemctl prints; an error if it fails."""
        done = subprocess.run(
            self._inside("systemctl", *arguments), capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def start_later(self, unit: str) -> subprocess.Popen[bytes]:
        """A systemctl that ends when the unit counts as started."""
        return subprocess.Popen(self._inside("systemctl", "start", unit))

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit)

    def until_shown(self, unit: str, name: str, value: str) -> None:
        """Wait until a property has a value. (Only D-Bus would tell, which does not run in there.)"""
        until(lambda: self.show(unit, name) == value, f"{name} of {unit} to be {value!r}")

    def until_journal(self, pattern: str) -> str:
        """Wait for a line that matches, after those that were waited for before; return it."""
        assert self._journal.stdout is not None
        fd = self._journal.stdout.fileno()
        deadline = time.monotonic() + PATIENCE
        while True:
            while "\n" in self._read:
                line, _, self._read = self._read.partition("\n")
                if re.search(pattern, line):
                    return line
            left = max(deadline - time.monotonic(), 0)
            if not select.select([fd], [], [], left)[0]:
                raise TimeoutError(f"no {pattern!r} in the journal:\n{self.journal()}")
            data = os.read(fd, 65536)
            assert data, "systemd has ended"
            self._read += data.decode(errors="replace")

    def journal(self) -> str:
        """All of it."""
        return subprocess.run(
            self._inside("journalctl", "--output", "cat", "--no-pager"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        ).stdout

    def _inside(self, *words: str) -> list[str]:
        return ["nsenter", "--all", "--target", str(self.pid), *words]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []
