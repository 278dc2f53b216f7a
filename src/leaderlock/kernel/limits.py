"""The limits of the system that a process can reach, and how to raise each."""

from __future__ import annotations

import errno

REMEDIES = {
    errno.EMFILE: "this process has too many files open: raise `ulimit -n` or close some",
    errno.ENFILE: "the system has too many files open: raise fs.file-max",
    errno.ENOMEM: "the system has no memory left for this: free some, or raise the limit of memory",
    errno.EAGAIN: "a limit of processes is reached: raise `ulimit -u`, the cgroup's pids.max or the "
    "unit's TasksMax=",
}


def remedy(error: BaseException) -> str:
    """What to do if the error is an `OSError` because of a limit; otherwise an empty text."""
    return REMEDIES.get(error.errno or 0, "") if isinstance(error, OSError) else ""
