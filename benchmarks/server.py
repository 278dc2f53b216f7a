"""A real gunicorn with four workers, in one of the configurations of `confs`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.stamps import read_stamp
from benchmarks.workers import await_queue

ROOT = Path(__file__).parent.parent
WORKERS = 4


class Server:
    """Starts with the `with` statement; `leader` is the PID of the worker that leads.

    Args:
        leads: whether all workers stand, and one leads.
        source: the directory of another version's package.
    """

    def __init__(
        self,
        conf: str,
        directory: Path,
        *,
        leads: bool = True,
        workers: int = WORKERS,
        source: Path | None = None,
    ) -> None:
        self.conf = conf
        self._source = {} if source is None else {"PYTHONPATH": str(source)}
        self.directory = directory
        self.leads = leads
        self._count = workers
        self.lock = directory / f"{conf}.lock"

    def __enter__(self) -> Server:
        self._reader, writer = os.pipe()
        log = self.directory / f"{self.conf}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [
                    *[sys.executable, "-m", "gunicorn", "-c", f"benchmarks/confs/{self.conf}.py"],
                    *["--bind", f"unix:{self.directory / self.conf}.sock"],
                    *["--workers", str(self._count)],
                    "--no-control-socket",
                    "benchmarks.confs.app:app",
                ],
                cwd=ROOT,
                # The same hashes in each server: its memory is compared with another's.
                env={
                    **os.environ,
                    **self._source,
                    "LOCK": str(self.lock),
                    "STAMPS": str(writer),
                    "PYTHONHASHSEED": "0",
                },
                pass_fds=[writer],
                stdout=output,
                stderr=output,
            )
        os.close(writer)
        self.arbiter = self._process.pid
        try:
            if self.leads:
                self.leader, _ = read_stamp(self._reader)
                await_queue(str(self.lock), self._count - 1)
            else:
                while len(self.workers()) < self._count:
                    time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._reader)

    def serve(self, requests: int) -> None:
        """Have the workers answer requests, as a server's do."""
        for _ in range(requests):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{self.directory / self.conf}.sock")
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                while client.recv(4096):
                    pass

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.arbiter}/task/{self.arbiter}/children").read_text("ascii")
        return [int(pid) for pid in children.split()]

    def until_succeeded(self) -> float:
        """Milliseconds from the leader's second stamp to the first one of the next leader."""
        hung, before = read_stamp(self._reader)
        self.leader, now = read_stamp(self._reader)
        if hung == self.leader:
            raise RuntimeError(f"worker {hung} was to die of its lease, and leads again")
        return (now - before) / 1e6

    def kill_leader(self) -> float:
        """SIGKILL the leader; milliseconds to the first line of the next one's task."""
        before = time.monotonic_ns()
        os.kill(self.leader, signal.SIGKILL)
        self.leader, now = read_stamp(self._reader)
        await_queue(str(self.lock), self._count - 1)
        return (now - before) / 1e6
