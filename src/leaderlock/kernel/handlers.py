"""Signal handlers by way of C: set from any thread, and without work for Python's main thread.

`signal.signal` works in the main thread only, and a Python handler would be run there. Imported when a
handler is to be set, since ctypes costs 7 ms.
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
    """The address of a signal's handler, or `DEFAULT`."""
    return _get(number) or DEFAULT


def set_handler(number: int, handler: int | None) -> None:
    """Have a signal handled by the C function at this address."""
    _set(number, handler)
