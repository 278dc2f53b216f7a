"""The same gunicorn with what one would write by hand: a bare thread that blocks in flock."""

from __future__ import annotations

import fcntl
import os
import threading
import time

from benchmarks.stamps import LONG, stamp

STAMPS = int(os.environ["STAMPS"])


def wait(path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    stamp(STAMPS)
    time.sleep(LONG)


def stand(path: str) -> None:
    threading.Thread(target=wait, args=(path,), daemon=True).start()


def post_fork(server: object, worker: object) -> None:
    stand(os.environ["LOCK"])
