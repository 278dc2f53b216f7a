"""The processes of a prefork server, from psutil and ``/proc``."""

from __future__ import annotations

import os
import time

from leaderlock.errors import Unsupported
from leaderlock.health.checks.check import Check, check
from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.kernel.proc.keepers import children_of, is_keeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import psutil

PROPORTIONAL_SHARE = 0.002
"""The most of one core, for all processes, that reading proportional memory may cost: the kernel walks
the page tables, about 1 ms for each 100 MB. So big processes are not read at every tick."""


@names_near_keyword
def workers(
    arbiter: int | None = None,
    *,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[dict[str, Any]]:
    """A check of the worker processes: how many are alive, how many were replaced, and their resources.

    Its value: `arbiter` (the process ID), `alive`, `restarts` (workers that ended and were replaced
    since this process began to report) and `processes`, for each its `pid`, `age` (seconds),
    `resident` and `proportional` memory (bytes; a page that n processes share counts 1/n for each),
    `cpu` (percent of one core since the last report) and `descriptors` (open ones). Values that the
    kernel hides from this user are null, and so is `cpu` in the first report of a process. Reading
    `proportional` takes at most 0.2 % of a core for all processes together (for four with 500 MB each,
    about every 15 s); between reads, the last value is repeated.

    Args:
        arbiter: the process ID of the workers' parent; by default the parent of the process that runs
            the check, which in a worker is the arbiter.
        name, timeout, critical: the same as in `checks.check`; the name is ``workers`` by default.

    Raises:
        Unsupported: psutil is not installed.
        ValueError: an argument is invalid.
    """
    try:
        import psutil  # noqa: F401, PLC0415  (an extra)
    except ImportError as error:
        raise Unsupported(
            "checks.workers() needs psutil: run `pip install 'leaderlock[health]'`"
        ) from error
    given: object = arbiter  # may come from a configuration file
    if given is not None and not (isinstance(given, int) and given > 0):
        raise ValueError(f"arbiter must be the ID of a process, not {arbiter!r}")
    return check(_Workers(arbiter).look, name=name or "workers", timeout=timeout, critical=critical)


class _Workers:
    """The processes seen at the previous look, and their processor times."""

    def __init__(self, arbiter: int | None) -> None:
        self._arbiter = arbiter
        self._pid = 0
        self._known: dict[int, _Worker] = {}
        self._came = self._gone = 0

    def look(self) -> dict[str, Any]:
        arbiter = self._arbiter or os.getppid()
        now = {pid: worker for pid in _children(arbiter) if (worker := self._worker(pid))}
        if self._pid == os.getpid():
            self._came += sum(self._known.get(pid) is not worker for pid, worker in now.items())
            self._gone += sum(now.get(pid) is not worker for pid, worker in self._known.items())
        else:  # the first look, or the first in a forked child
            self._pid = os.getpid()
            self._came = self._gone = 0
        self._known = now
        seen = [worker.describe(PROPORTIONAL_SHARE / len(now)) for worker in now.values()]
        processes = [described for described in seen if described is not None]
        return {
            "arbiter": arbiter,
            "alive": len(processes),
            "restarts": min(self._came, self._gone),
            "processes": processes,
        }

    def _worker(self, pid: int) -> _Worker | None:
        """The known worker with this process ID, or a new one if the ID was reused."""
        import psutil  # noqa: PLC0415

        known = self._known.get(pid)
        try:
            if known is not None and known.process.is_running():
                return known if known.process.status() != psutil.STATUS_ZOMBIE else None
            process = psutil.Process(pid)
            return _Worker(process) if process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class _Worker:
    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self._looked = False
        self._proportional: int | None = None
        self._read_again = 0.0

    def describe(self, share: float) -> dict[str, Any] | None:
        """The process's numbers; None if it has ended. Reading may cost `share` of a core."""
        import psutil  # noqa: PLC0415

        process = self.process
        try:
            with process.oneshot():
                cpu = process.cpu_percent()
                described = {
                    "pid": process.pid,
                    "age": round(max(time.time() - process.create_time(), 0), 3),
                    "resident": process.memory_info().rss,
                    "proportional": self._read_proportional(share),
                    "cpu": cpu if self._looked else None,
                    "descriptors": _descriptors(process),
                }
        except psutil.NoSuchProcess:
            return None
        self._looked = True
        return described

    def _read_proportional(self, share: float) -> int | None:
        import psutil  # noqa: PLC0415

        now = time.monotonic()
        if now < self._read_again:
            return self._proportional
        begin = time.thread_time()
        try:
            self._proportional = getattr(self.process.memory_full_info(), "pss", None)
        except psutil.AccessDenied:  # only its own user may read smaps, if the process is dumpable
            self._proportional = None
        self._read_again = now + (time.thread_time() - begin) / share
        return self._proportional


def _children(arbiter: int) -> list[int]:
    """The arbiter's children, without the keepers: these share a leader's memory, and do no work."""
    try:
        children = children_of(arbiter)  # psutil would read the parent of every process
    except (FileNotFoundError, ProcessLookupError):  # not Linux; a thread ended meanwhile
        import psutil  # noqa: PLC0415

        children = [child.pid for child in psutil.Process(arbiter).children()]
    return [pid for pid in children if not is_keeper(pid)]


def _descriptors(process: psutil.Process) -> int | None:
    import psutil  # noqa: PLC0415

    try:
        # Since Linux 6.2 the directory's size is the number of descriptors (proc_pid_fd(5)).
        size = os.stat(f"/proc/{process.pid}/fd").st_size
        return size or process.num_fds()
    except FileNotFoundError:
        try:
            return process.num_fds()
        except psutil.AccessDenied:
            return None
    except (PermissionError, psutil.AccessDenied):
        return None
