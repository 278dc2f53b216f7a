"""Signal handlers in C: any thread can set one, and none gives Python's main thread work.

`signal.signal` works in the main thread only, and Python would run its handler there. Import this
module only to set a handler, since ctypes costs 7 ms.
"""

from __future__ import annotations

import ctypes

_get = ctypes.pythonapi.PyOS_getsig
_set = ctypes.pythonapi.PyOS_setsig
_get.restype = _set.restype = ctypes.c_void_p
_get.argtypes = (ctypes.c_int,)
_set.argtypes = (ctypes.c_int, ctypes.c_void_p)

DEFAULT = 0
NOTHING: int | None = ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p).value
"""A handler that does nothing: libc's abs(3), an async-signal-safe function of one int."""


def handler_of(number: int) -> int:
    """The address of the signal's handler, or `DEFAULT`."""
    return _get(number) or DEFAULT


def set_handler(number: int, handler: int | None) -> None:
    """Make the C function at this address the signal's handler."""
    _set(number, handler)
