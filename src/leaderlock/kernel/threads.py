"""Native threads and locks, also where gevent or eventlet has patched ``threading``.

A blocking flock in a green thread stops every other greenlet of the worker, so nothing here may be
green. Python keeps no unpatched copy of ``_thread``; it is a built-in module, so a second instance of
it, made from the same C code, brings the original functions back whoever has patched the first.
"""

from __future__ import annotations

import _thread
import os
import sys

from leaderlock.kernel.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType
    from typing import Any


def _unpatched_thread_module() -> ModuleType:
    if is_native(_thread.start_new_thread) and is_native(_thread.allocate_lock):
        return _thread
    import _frozen_importlib  # noqa: PLC0415  (only where something has patched)

    bootstrap: Any = _frozen_importlib

    spec = bootstrap.ModuleSpec("_thread", bootstrap.BuiltinImporter, origin="built-in")
    module: ModuleType = bootstrap.module_from_spec(spec)
    bootstrap.BuiltinImporter.exec_module(module)
    return module


def is_native(function: object) -> bool:
    """Whether it is the interpreter's own, and nobody has put a green one in its place."""
    return isinstance(function, (type(len), type))


def threads_are_green() -> bool:
    """Whether gevent or eventlet has patched, so that new threads are green ones."""
    return not is_native(_thread.start_new_thread)


_native: Any = _unpatched_thread_module()

allocate_lock = _native.allocate_lock
start_new_thread = _native.start_new_thread
get_ident = _native.get_ident
RLock = _native.RLock
TIMEOUT_MAX: float = _native.TIMEOUT_MAX
"""The longest wait, in seconds, that a native lock takes."""


def is_main_thread() -> bool:
    """Whether the caller's native thread is the process's first one. True where Linux is not."""
    return sys.platform != "linux" or bool(_native.get_native_id() == os.getpid())


def start_thread_without_signals(
    function: Callable[..., object],
    *arguments: object,
    but: Iterable[int] = (),
    started: list[int] | None = None,
) -> None:
    """Start a native thread that is born with every signal blocked, `but` these, and so takes none.

    The kernel gives a signal to the first thread that looks: a SIGINT that such a thread took as it
    began would leave the main thread waiting in flock.

    Args:
        function, arguments: what it runs.
        but: signals that it may take.
        started: gets the thread's number as the thread starts, whatever is raised then.

    Raises:
        RuntimeError: the system has no thread left.
    """
    # Read first: a handler that raises as they are blocked takes the result with it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() - set(but))
        ([] if started is None else started).extend(map(start_new_thread, (function,), (arguments,)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
