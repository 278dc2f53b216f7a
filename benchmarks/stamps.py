"""Stamps of the monotonic clock, sent through a pipe; light, since every server's worker imports it."""

from __future__ import annotations

import os
import select
import struct
import time

STAMP = struct.Struct("=iq")
PATIENCE = 30.0
LONG = 3600.0
"""Seconds that a job lasts, or a wait may take: longer than any benchmark."""


def stamp(fd: int) -> None:
    """Report the first line of the task: the clock is read before anything else."""
    now = time.monotonic_ns()
    os.write(fd, STAMP.pack(os.getpid(), now))


def read_stamp(fd: int) -> tuple[int, int]:
    """The PID of who leads now and the time of its first line, in ns of the monotonic clock."""
    if not select.select([fd], [], [], PATIENCE)[0]:
        raise TimeoutError(f"nobody leads after {PATIENCE} s")
    pid, now = STAMP.unpack(os.read(fd, STAMP.size))
    return pid, now
