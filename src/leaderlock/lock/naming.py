"""The default name of a lock: a function's name, and a checksum of a file's path.

The path is absolute, with symlinks resolved. The path that Python knows may be relative (``gunicorn -c
gunicorn.conf``), and with relative paths two programs in two directories could share a lock.
"""

from __future__ import annotations

import functools
import os
import sys
from binascii import crc32

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType


def function_name(function: Callable[..., object], *, place: str | None = None) -> str:
    """A lock's name for a function.

    Args:
        function: a function, a `functools.partial` of one, or any other callable object.
        place: the absolute path of a file. The default is the file that defines the function or, for
            an object that is no function, the file of its class.
    """
    while isinstance(function, functools.partial):
        function = function.func
    target = function if hasattr(function, "__qualname__") else type(function)
    if place is None:
        place = _file_of(function, target)
    own = "".join(c if c.isalnum() or c in "._-" else "_" for c in target.__qualname__).lstrip("._")
    return f"{own[-80:]}-{crc32(os.fsencode(place)):08x}"


def name_by_caller(function: Callable[..., object]) -> str:
    """A lock's name for a function, from the file of the code that has called leaderlock."""
    return function_name(function, place=file_of_caller())


def own_name(function: Callable[..., object], *, caller: str | None = None) -> str:
    """A lock's name for a function, from the function's own file.

    The class of an object that is no function may belong to a library, as for a `HealthReporter`: then
    the caller's file distinguishes programs.

    Args:
        function: as for `function_name`.
        caller: the caller's file; the default is the file of the code that has called leaderlock.
    """
    inner: object = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if hasattr(inner, "__code__"):
        return function_name(function)
    return function_name(function, place=caller or file_of_caller())


def file_of_caller() -> str:
    """The absolute path of the file whose code has called leaderlock."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_globals.get("__name__")):
        frame = frame.f_back
    return "" if frame is None else _absolute(frame.f_code.co_filename, frame.f_globals)


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and (module == "leaderlock" or module.startswith("leaderlock."))


def _file_of(function: object, target: object) -> str:
    code = getattr(function, "__code__", None)
    if code is not None:
        return _absolute(code.co_filename, getattr(function, "__globals__", {}))
    module = getattr(target, "__module__", None) or ""
    # The module of a script's class is `__main__` in every script: use the script's file.
    file = getattr(sys.modules.get(module), "__file__", None) if module == "__main__" else None
    return os.path.realpath(file) if file else module


def _absolute(filename: str, namespace: Mapping[str, object]) -> str:
    """The absolute path of a code object's file.

    Code that was executed without a file (``<stdin>``, ``<string>``) counts as a file of the current
    directory.
    """
    if not os.path.isabs(filename):
        # Use the module's absolute `__file__`: the current directory may have changed since the start.
        file = namespace.get("__file__")
        if isinstance(file, str) and os.path.isabs(file) and file.endswith(os.sep + filename):
            filename = file
    return os.path.realpath(filename)
