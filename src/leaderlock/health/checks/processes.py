"""The processes of a prefork server, as psutil sees them."""

from __future__ import annotations

import os
import time

from leaderlock.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import psutil


def workers(arbiter: int | None = None) -> Callable[[], dict[str, Any]]:
    """A check of the worker processes: how many are alive, and each one's memory and age.

    Memory is in bytes: resident, and proportional (a page shared by n processes counts 1/n for each;
    None where the kernel does not let this user see it). Ages are in seconds.

    Args:
        arbiter: the process ID whose children are the workers; by default the parent of the process
            that runs the check, which in a worker is the arbiter.

    Raises:
        Unsupported: psutil is not installed.
    """
    try:
        import psutil  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise Unsupported(
            "checks.workers() needs psutil: run `pip install 'leaderlock[health]'`"
        ) from error

    def workers() -> dict[str, Any]:
        parent = psutil.Process(arbiter or os.getppid())
        seen = [_describe(child) for child in parent.children()]
        processes = [described for described in seen if described is not None]
        return {"arbiter": parent.pid, "alive": len(processes), "processes": processes}

    return workers


def _describe(process: psutil.Process) -> dict[str, Any] | None:
    """One worker, or None if it has ended meanwhile or is a zombie."""
    import psutil  # noqa: PLC0415

    try:
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            return {
                "pid": process.pid,
                "age": round(max(time.time() - process.create_time(), 0), 3),
                "resident": process.memory_info().rss,
                "proportional": _proportional(process),
            }
    except psutil.NoSuchProcess:
        return None


def _proportional(process: psutil.Process) -> int | None:
    import psutil  # noqa: PLC0415

    try:
        return getattr(process.memory_full_info(), "pss", None)
    except psutil.AccessDenied:  # smaps is for the process's own user, and only while it is dumpable
        return None
