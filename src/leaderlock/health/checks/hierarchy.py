"""The control groups of this process, and the contents of their files.

Version 1 has a hierarchy for each controller, version 2 has one for all; a machine may use both, with
some controllers in each (cgroups(7)). In a container the mount may show only a part of the hierarchy.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LIMIT = 1 << 62
"""Version 1 writes "no limit" as the highest multiple of the page size."""

_OCTAL = re.compile(r"\\([0-7]{3})")


class MemoryReading(NamedTuple):
    """In bytes. `limit` is None if there is none, `oom_kills` if the kernel does not count them."""

    current: int
    working_set: int
    limit: int | None
    oom_kills: int | None


class CpuReading(NamedTuple):
    """Processor time. `cores` is None if there is no limit; periods are counted only under a limit."""

    cores: float | None
    periods: int
    throttled: int
    throttled_seconds: float


class Group:
    """A control group as a directory, and the groups above it as far as the mount shows them."""

    def __init__(self, version: int, path: str, mount_point: str) -> None:
        self.version = version
        self._path = path
        self._mount_point = mount_point

    def memory(self) -> MemoryReading | None:
        """The memory of the group nearest to its limit, from this one upwards; None at the very top."""
        readings = [reading for path in self._upwards() if (reading := self._memory_of(path))]
        if not readings:
            return None
        limited = [reading for reading in readings if reading.limit is not None]
        if not limited:
            return readings[0]
        fullest = max(limited, key=lambda reading: reading.working_set / (reading.limit or 1))
        return fullest._replace(oom_kills=readings[0].oom_kills)

    def cpu(self) -> CpuReading | None:
        """The processor time of this group, or of the nearest group above it that has a limit."""
        readings = [reading for path in self._upwards() if (reading := self._cpu_of(path))]
        limited = [reading for reading in readings if reading.cores is not None]
        return next(iter(limited or readings), None)

    def pressure(self) -> dict[str, dict[str, float]] | None:
        """Percentages of the last 10 s, by resource; None if the kernel does not account pressure."""
        found = {}
        for resource in ("cpu", "memory", "io"):
            text = _read(f"{self._path}/{resource}.pressure")
            lines = [line.split() for line in (text or "").splitlines()]
            if lines:
                found[resource] = {kind: float(rest[0].partition("=")[2]) for kind, *rest in lines}
        return found or None

    def _upwards(self) -> Iterator[str]:
        path = self._path
        while True:
            yield path
            if path == self._mount_point or len(path) <= len(self._mount_point):
                return
            path = os.path.dirname(path)

    def _memory_of(self, path: str) -> MemoryReading | None:
        v2 = self.version == 2
        current = _read(f"{path}/{'memory.current' if v2 else 'memory.usage_in_bytes'}")
        limit = _read(f"{path}/{'memory.max' if v2 else 'memory.limit_in_bytes'}")
        if current is None or limit is None:  # the top group of version 2 has neither
            return None
        statistics = _table(f"{path}/memory.stat")
        droppable = statistics.get("inactive_file" if v2 else "total_inactive_file", 0)
        most = None if limit.strip() == "max" or int(limit) >= _NO_LIMIT else int(limit)
        events = _table(f"{path}/{'memory.events' if v2 else 'memory.oom_control'}")
        used = int(current)
        return MemoryReading(used, max(used - droppable, 0), most, events.get("oom_kill"))

    def _cpu_of(self, path: str) -> CpuReading | None:
        statistics = _table(f"{path}/cpu.stat")
        if "nr_periods" not in statistics:
            return None
        if self.version == 2:
            quota, _, period = (_read(f"{path}/cpu.max") or "max 100000").partition(" ")
            seconds = statistics.get("throttled_usec", 0) / 1e6
        else:
            quota = _read(f"{path}/cpu.cfs_quota_us") or "-1"
            period = _read(f"{path}/cpu.cfs_period_us") or "100000"
            seconds = statistics.get("throttled_time", 0) / 1e9
        cores = None if quota.strip() in ("max", "-1") else round(int(quota) / int(period), 4)
        periods, throttled = statistics["nr_periods"], statistics["nr_throttled"]
        return CpuReading(cores, periods, throttled, round(seconds, 6))


def groups_of_this_process(root: str = "/") -> dict[str, Group]:
    """The mounted groups of this process: "memory" and "cpu" of version 1, "unified" of version 2.

    Args:
        root: a directory in place of ``/``.
    """
    memberships = {}
    with open(
        os.path.join(root, "proc/self/cgroup"),
        encoding="utf-8",
        errors="surrogateescape",
        newline="\n",  # a name may hold any other character that ends a line elsewhere
    ) as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            memberships.update(dict.fromkeys(controllers.split(","), path))
    mounts = list(_mounts(root))
    found = {}
    for what in ("memory", "cpu"):
        group = _group(1, what, memberships, mounts, root) or _group(2, "", memberships, mounts, root)
        if group is not None:
            found[what] = group
    unified = _group(2, "", memberships, mounts, root)
    if unified is not None:
        found["unified"] = unified
    return found


class _Mount(NamedTuple):
    kind: str
    options: list[str]
    top: str  # the path within the hierarchy that is mounted
    point: str


def _mounts(root: str) -> Iterator[_Mount]:
    """The mounts of control groups, the last one first, since it covers the earlier ones."""
    with open(
        os.path.join(root, "proc/self/mountinfo"),
        encoding="utf-8",
        errors="surrogateescape",
        newline="\n",
    ) as f:
        lines = f.read().split("\n")[:-1]
    for line in reversed(lines):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            top, point = (_OCTAL.sub(_character, field) for field in before.split(" ")[3:5])
            yield _Mount(kind, options.split(","), top, point)


def _group(
    version: int, controller: str, memberships: dict[str, str], mounts: list[_Mount], root: str
) -> Group | None:
    """The group of a version 1 controller, or of version 2 (with an empty controller name)."""
    path = memberships.get(controller)
    if path is None:
        return None
    for mount in mounts:
        if mount.kind == "cgroup2" if version == 2 else controller in mount.options:
            point = os.path.join(root, mount.point.lstrip("/"))
            beneath = os.path.relpath(path, mount.top)
            # A container may mount only its own group, without a namespace that hides the path above.
            inside = beneath not in (".", "..") and not beneath.startswith("../")
            directory = os.path.join(point, beneath) if inside else point
            return Group(version, directory if os.path.isdir(directory) else point, point)
    return None


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:  # missing in this version, in this kernel, or at the top
        return None
    except OSError as error:
        # EOPNOTSUPP: pressure is not accounted (psi=0). ENODEV: the group was just removed.
        if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
            return None
        raise


def _table(path: str) -> dict[str, int]:
    """Parse a file with a name and a number in each line."""
    pairs = [line.split() for line in (_read(path) or "").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
