"""A FUSE file system with one file, `lock`, whose flock is a flock on a file beneath, or nobody's.

    fuse_server.py PLACE BENEATH (local | asked | unanswered)

`local` leaves flock to the kernel; `asked` wants to be asked for it, and answers; `unanswered` wants it
too, and says ENOSYS. It prints "mounted", then the operation of each flock that it is asked for.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

import mfusepy

PLACE, BENEATH, MODE = sys.argv[1:]
INODE = int.from_bytes(os.urandom(6), "big")  # one that no other lock in /proc/locks has


class OneFile(mfusepy.Operations):  # type: ignore[misc]  # untyped
    """What opening it needs; without `flock`, libfuse does not ask the kernel for it."""

    use_ns = True

    def init(self, path: str) -> None:
        print("mounted", flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, "st_ino": 1}
        if path == "/lock":
            return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_ino": INODE}
        raise mfusepy.FuseOSError(errno.ENOENT)

    def open(self, path: str, flags: int) -> int:
        return os.open(BENEATH, os.O_RDWR | os.O_CREAT, 0o600)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


class WithFlock(OneFile):
    """As one that keeps the lock for all its mounts."""

    def flock(self, path: str, fh: int, op: int) -> int:
        print(op & ~fcntl.LOCK_NB, flush=True)
        if MODE == "unanswered":
            raise mfusepy.FuseOSError(errno.ENOSYS)
        fcntl.flock(fh, op | fcntl.LOCK_NB)
        return 0


operations = OneFile() if MODE == "local" else WithFlock()
mfusepy.FUSE(operations, PLACE, foreground=True, allow_other=True, use_ino=True)
