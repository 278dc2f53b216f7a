"""A plugin of pytest: filelock's own tests find leaderlock's classes under filelock's names.

The classes get the names of the originals, which some tests compare, so that only behaviour is left to
differ. Processes that a test starts anew (not by fork) use the original: both exclude each other.
"""

from __future__ import annotations

import filelock
import filelock.asyncio

from leaderlock.interop import AsyncFileLock, FileLock

FileLock.__name__ = filelock.UnixFileLock.__name__
AsyncFileLock.__name__ = filelock.AsyncUnixFileLock.__name__
filelock.FileLock = filelock.UnixFileLock = FileLock  # type: ignore[assignment, misc]
for module in (filelock, filelock.asyncio):
    for name in ("AsyncFileLock", "AsyncUnixFileLock"):
        setattr(module, name, AsyncFileLock)
