"""The limits of the system that a process can reach, and how to raise each."""

from __future__ import annotations

import errno
import os

REMEDIES = {
    errno.EMFILE: "this process has too many files open: raise `ulimit -n` or close some",
    errno.ENFILE: "the system has too many files open: raise fs.file-max",
    errno.ENOMEM: "the system has no memory left for this: free some, or raise the limit of memory",
    errno.EAGAIN: "a limit of processes is reached: raise `ulimit -u`, the cgroup's pids.max or the "
    "unit's TasksMax=",
}


def explained(error: BaseException) -> str:
    """The event and the remedy if the error is an `OSError` by a limit; otherwise an empty text."""
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    return f"{os.strerror(number)}; {REMEDIES[number]}" if number in REMEDIES else ""
