"""Runs a program under a seccomp filter: `forbidding.py ERRNO NUMBER,NUMBER... PROGRAM ARGUMENT...`.

System calls of these numbers fail with that error, as under a profile older than they are.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

PIDFD_OPEN, PIDFD_SEND_SIGNAL = 434, 424
PRCTL = 157 if os.uname().machine == "x86_64" else 167

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def forbid(error: int, numbers: list[int]) -> None:
    """Have these system calls fail, here and in all that descends from this process."""
    filters = [(_LOAD, 0, 0, 0)]  # the number of the call
    for place, number in enumerate(numbers):
        filters.append((_JUMP_IF_EQUAL, len(numbers) - place, 0, number))
    filters += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | error)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in filters))
    program = struct.pack("HxxxxxxP", len(filters), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    at = ctypes.create_string_buffer(program)
    if prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if prctl(_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(at), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid(int(sys.argv[1]), [int(word) for word in sys.argv[2].split(",")])
    os.execvp(sys.argv[3], sys.argv[3:])
