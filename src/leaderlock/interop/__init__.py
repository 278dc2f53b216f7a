"""filelock's and portalocker's locks, waiting in the kernel, for libraries that need one of these.

    from leaderlock.interop import FileLock, AsyncFileLock  # a filelock.FileLock
    from leaderlock.interop import Lock, RLock              # a portalocker.Lock

Each class is a subclass of the original, and differs only in how it waits: not in a loop that tries
and sleeps, but in one flock(2), which the kernel grants in the order of arrival. These locks, the
originals and `LeaderLock` exclude each other on the same file. Linux, macOS and the BSDs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.interop.filelock import FileLock
    from leaderlock.interop.filelock_async import AsyncFileLock
    from leaderlock.interop.portalocker import Lock, RLock

__all__ = ["AsyncFileLock", "FileLock", "Lock", "RLock"]

# The module of each class, and the package that the module needs.
_PLACE_OF = {
    "AsyncFileLock": ("filelock_async", "filelock"),
    "FileLock": ("filelock", "filelock"),
    "Lock": ("portalocker", "portalocker"),
    "RLock": ("portalocker", "portalocker"),
}


def __getattr__(name: str) -> object:
    if name not in _PLACE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415  (one package is wanted, and the other may be missing)

    place, package = _PLACE_OF[name]
    try:
        module = importlib.import_module(f"{__name__}.{place}")
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ImportError(
            f"{__name__}.{name} needs {package}: run `pip install 'leaderlock[{package}]'`"
        ) from error
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACE_OF})
