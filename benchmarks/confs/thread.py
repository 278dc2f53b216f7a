"""The same gunicorn with what one would write by hand: a bare thread that blocks in flock."""

from __future__ import annotations

import fcntl
import os
import threading

from benchmarks.stamps import stamp

STAMPS = int(os.environ["STAMPS"])


def wait() -> None:
    fd = os.open(os.environ["LOCK"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    stamp(STAMPS)


def post_fork(server: object, worker: object) -> None:
    threading.Thread(target=wait, daemon=True).start()
