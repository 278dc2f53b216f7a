"""A FUSE file system with one file, `lock`, whose flock is a flock on a file beneath, or nobody's.

    fuse_server.py PLACE BENEATH (local | asked | unanswered)

`local` does not ask the kernel for FUSE_FLOCK_LOCKS; `asked` does, and answers; `unanswered` does, and
says ENOSYS. It prints "mounted", then a line for each flock that it is asked for. The structures are
those of linux/fuse.h.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
import sys
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

PLACE, BENEATH, MODE = sys.argv[1:]

LOOKUP, FORGET, GETATTR, OPEN, RELEASE, FLUSH, INIT, SETLK, SETLKW, INTERRUPT, DESTROY, BATCH_FORGET = (
    *(1, 2, 3, 14, 18, 25, 26, 32, 33, 36, 38, 42),
)
FUSE_FLOCK_LOCKS = 1 << 10
ROOT, FILE = 1, 2
INODE = int.from_bytes(os.urandom(6), "big")  # one that no other lock in /proc/locks has
FOREVER = 1 << 30
KINDS = {0: LOCK_SH, 1: LOCK_EX, 2: LOCK_UN}  # F_RDLCK, F_WRLCK, F_UNLCK

beneath: dict[int, int] = {}
"""A descriptor for each open file, by its handle."""


def attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
    inode = ROOT if node == ROOT else INODE
    return struct.pack("=6Q10I", inode, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def locked(body: bytes) -> bytes:
    handle, _, _, _, kind, _, _, _ = struct.unpack("=4Q4I", body)
    print(KINDS[kind], flush=True)
    if MODE == "unanswered":
        raise OSError(errno.ENOSYS, "not implemented")
    flock(beneath[handle], KINDS[kind] | LOCK_NB)
    return b""


def reply(opcode: int, node: int, body: bytes) -> bytes:
    if opcode == INIT:
        major, minor, readahead, _ = struct.unpack_from("=4I", body)
        flags = 0 if MODE == "local" else FUSE_FLOCK_LOCKS
        return struct.pack("=4I2H2I", major, minor, readahead, flags, 16, 12, 4096, 1) + bytes(32)
    if opcode == LOOKUP:
        if body != b"lock\0":
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return struct.pack("=4Q2I", FILE, 0, FOREVER, FOREVER, 0, 0) + attributes(FILE)
    if opcode == GETATTR:
        return struct.pack("=Q2I", FOREVER, 0, 0) + attributes(node)
    if opcode == OPEN:
        handle = os.open(BENEATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        beneath[handle] = handle
        return struct.pack("=Q2I", handle, 0, 0)
    if opcode == RELEASE:
        os.close(beneath.pop(struct.unpack_from("=Q", body)[0]))
        return b""
    if opcode in (SETLK, SETLKW):
        return locked(body)
    if opcode in (FLUSH, DESTROY):
        return b""
    raise OSError(errno.ENOSYS, "not implemented")


def serve(device: int) -> None:
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError as error:
            if error.errno == errno.ENODEV:  # unmounted
                return
            raise
        _, opcode, unique, node = struct.unpack_from("=2I2Q", request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        status, answer = 0, b""
        try:
            answer = reply(opcode, node, request[40:])
        except OSError as error:
            status = -(error.errno or errno.EIO)
        os.write(device, struct.pack("=IiQ", 16 + len(answer), status, unique) + answer)


def main() -> None:
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    subprocess.run(
        ["mount", "-i", "-t", "fuse", "-o", options, "test", PLACE], pass_fds=[device], check=True
    )
    print("mounted", flush=True)
    serve(device)


main()
