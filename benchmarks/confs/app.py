"""An application that does nothing, for the servers of the benchmarks."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok\n"]


# A real application's memory, in pages of 4 KiB, as a heap of small objects is.
if megabytes := int(os.environ.get("MEGABYTES", "0")):
    memory = mmap.mmap(-1, megabytes << 20)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    memory[:: mmap.PAGESIZE] = b"x" * (len(memory) // mmap.PAGESIZE)
