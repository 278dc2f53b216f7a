"""seccomp filters, of which some kill, to run leaders under."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable

# The same on every architecture: those that came with Linux 5.
NEW = {"pidfd_open": 434, "close_range": 436}
OLD = {
    "x86_64": {
        "memfd_create": 319,
        "setpgid": 109,
        "setpriority": 141,
        "prlimit64": 302,
        "ppoll": 271,
        "unshare": 272,
        "clone": 56,
    },
    "aarch64": {
        "memfd_create": 279,
        "setpgid": 154,
        "setpriority": 140,
        "prlimit64": 261,
        "ppoll": 73,
        "unshare": 97,
        "clone": 220,
    },
}
CALLS = NEW | OLD.get(platform.machine(), {})

KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
CLONE_NEW = 0x7E020000
"""The flags of clone(2) that docker's default profile forbids without CAP_SYS_ADMIN."""


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def with_result(numbers: Iterable[int], action: int) -> bytes:
    """A filter (bpf(4)): these calls have this result, and all others are allowed."""
    load, jump, give = 0x20, 0x15, 0x06
    text = instruction(load, 0)
    for number in numbers:
        text += instruction(jump, number, 0, 1) + instruction(give, action)
    return text + instruction(give, ALLOW)


def as_docker() -> bytes:
    """What docker's default profile says of the calls of a keeper: EPERM for namespaces."""
    load, jump, give, jump_if_set = 0x20, 0x15, 0x06, 0x45
    refuse = instruction(give, ERRNO | errno.EPERM)
    text = instruction(load, 0)
    text += instruction(jump, CALLS["unshare"], 0, 1) + refuse
    text += instruction(jump, CALLS["clone"], 0, 3)
    text += instruction(load, 16) + instruction(jump_if_set, CLONE_NEW, 0, 1) + refuse
    return text + instruction(give, ALLOW)


def install(program: bytes) -> None:
    """Filter the calls of this process and of its children (seccomp(2))."""
    code = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    pointer = ctypes.create_string_buffer(described, len(described))
    assert prctl(22, 2, ctypes.addressof(pointer), 0, 0) == 0, os.strerror(ctypes.get_errno())
