"""The three kinds of lock that Linux has for files, each taken in the same way."""

from __future__ import annotations

import os
import struct
from fcntl import F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, fcntl, flock

# Python has these only where they are: fcntl.F_OFD_SETLK is missing on macOS.
ASK = {"POSIX": 5, "OFD": 36}
TRY = {"POSIX": 6, "OFD": 37}
WAIT = {"POSIX": 7, "OFD": 38}
FLOCKS = {F_RDLCK: LOCK_SH, F_WRLCK: LOCK_EX, F_UNLCK: LOCK_UN}
RECORD = "hhqqi4x"  # struct flock: type, whence, start, length, PID


def get(kind: str, fd: int, wanted: int = F_WRLCK, start: int = 0, length: int = 0) -> bool:
    """Take, convert or give back a lock without waiting; whether that was granted."""
    try:
        if kind == "flock":
            flock(fd, FLOCKS[wanted] | LOCK_NB)
        else:
            fcntl(fd, TRY[kind], struct.pack(RECORD, wanted, os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return False
    return True


def wait_for(kind: str, fd: int) -> None:
    if kind == "flock":
        flock(fd, LOCK_EX)
    else:
        fcntl(fd, WAIT[kind], struct.pack(RECORD, F_WRLCK, os.SEEK_SET, 0, 0, 0))


def holder_by(kind: str, fd: int) -> int:
    """The PID of the holder, as F_GETLK has it."""
    asked = struct.pack(RECORD, F_WRLCK, os.SEEK_SET, 0, 0, 0)
    return int(struct.unpack(RECORD, fcntl(fd, ASK[kind], asked))[4])
