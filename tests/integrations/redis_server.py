"""A real Redis of a test's own, on a socket that nobody else knows."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.processes import until


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """Its URL; it keeps nothing, and ends with the block."""
    # Debian's `redis-server` package would start a service. One program in its `redis-tools` is all of
    # Redis, and does what its name says.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    assert program, "redis-tools is not installed: `make packages`"
    # Not tmp_path, which may be too long for a socket's path.
    with tempfile.TemporaryDirectory(prefix="leaderlock-test-") as name:
        socket = Path(name) / "redis"
        with (Path(name) / "output").open("wb") as output:
            process = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""],
                executable=program,
                cwd=name,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            until(lambda: process.poll() is not None or _answers(socket), "Redis to answer")
            assert process.poll() is None, (Path(name) / "output").read_text()
            yield f"unix://{socket}"
        finally:
            process.kill()
            process.wait()


def _answers(socket: Path) -> bool:
    with (
        contextlib.suppress(redis.ConnectionError),
        redis.Redis(unix_socket_path=str(socket)) as client,
    ):
        return bool(client.ping())
    return False
