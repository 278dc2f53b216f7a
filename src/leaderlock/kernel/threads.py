"""Native threads and locks, also where gevent or eventlet has patched ``threading``.

A blocking flock in a green thread stops every other greenlet of the worker, so nothing here may be
green. Python keeps no unpatched copy of ``_thread``; it is a built-in module, so a second instance of
it, made from the same C code, brings the original functions back whoever has patched the first.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


def _unpatched_thread_module() -> ModuleType:
    if _is_native(_thread.start_new_thread) and _is_native(_thread.allocate_lock):
        return _thread
    import _frozen_importlib  # noqa: PLC0415  (only where something has patched)

    bootstrap: Any = _frozen_importlib

    spec = bootstrap.ModuleSpec("_thread", bootstrap.BuiltinImporter, origin="built-in")
    module: ModuleType = bootstrap.module_from_spec(spec)
    bootstrap.BuiltinImporter.exec_module(module)
    return module


def _is_native(function: object) -> bool:
    return isinstance(function, (type(len), type))


_native: Any = _unpatched_thread_module()

allocate_lock = _native.allocate_lock
start_new_thread = _native.start_new_thread
get_ident = _native.get_ident
RLock = _native.RLock
TIMEOUT_MAX: float = _native.TIMEOUT_MAX
"""The longest wait, in seconds, that a native lock takes."""
