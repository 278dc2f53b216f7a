"""A FUSE file system that shows a directory: fuse_files.py PLACE BENEATH (local | refused).

`local` leaves flock to the kernel, as most such programs do; `refused` asks for it, and then has none.
It prints "mounted" when it is.
"""

from __future__ import annotations

import errno
import os
import sys

import mfusepy

PLACE, BENEATH, MODE = sys.argv[1:]


class Files(mfusepy.Operations):  # type: ignore[misc]  # it has no types
    """What making, locking, writing, reading and removing files needs."""

    use_ns = True

    def at(self, path: str) -> str:
        return BENEATH + path

    def init(self, path: str) -> None:
        print("mounted", flush=True)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        try:
            status = os.lstat(self.at(path))
        except FileNotFoundError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None
        names = ("st_mode", "st_uid", "st_gid", "st_nlink", "st_size", "st_ino")
        return {name: getattr(status, name) for name in names}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self.at(path))]

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self.at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self.at(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self.at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self.at(old), self.at(new))
        return 0

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self.at(path), flags & (os.O_WRONLY | os.O_RDWR | os.O_TRUNC))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0


class FilesWithoutFlock(Files):
    """As a program that says that it does flock, and does not."""

    def flock(self, path: str, fh: int, op: int) -> int:
        raise mfusepy.FuseOSError(errno.ENOSYS)


operations = Files() if MODE == "local" else FilesWithoutFlock()
mfusepy.FUSE(operations, PLACE, foreground=True, allow_other=True, fsname="files", subtype="test")
