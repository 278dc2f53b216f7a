"""Resource limits of this process's control group, and its use of them: cgroups(7), v1 and v2."""

from __future__ import annotations

import os

from leaderlock.errors import Unsupported
from leaderlock.health.checks.check import Check, CheckResult, check, rising_shares
from leaderlock.health.checks.hierarchy import CpuReading, Group, MemoryReading, groups_of_this_process
from leaderlock.kernel.arguments import names_near_keyword

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

_SEVERITY = ("ok", "degraded", "failing")


@names_near_keyword
def cgroup(
    *,
    degraded: float = 0.85,
    failing: float = 0.95,
    throttled: float = 0.25,
    root: str | os.PathLike[str] = "/",
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[CheckResult]:
    """A check of the memory and processor time that this process's control group has left.

    Its value has three parts; each is null if the kernel does not report it:

    - `memory`: `version` (of the hierarchy, 1 or 2), `current` (bytes, with the page cache),
      `working_set` (without the part of the cache that can be dropped at any time), `limit` (null:
      none), `used` (the working set's share of the limit) and `oom_kills` (so far). If groups above
      this one have limits too, the numbers are those of the group that is nearest to its limit.
    - `cpu`: `version`, `limit` (cores; null: none), `throttled` (the share of the periods since the
      last report in which the group was stopped because it had used up its time; null in the first
      report) and `throttled_seconds` (so far, the sum over all threads).
    - `pressure`: for each of `cpu`, `memory` and `io` the percentage of the last 10 s in which some
      task (`some`) or all tasks at once (`full`) waited for that resource (only v2 reports this).

    The check is degraded also if the kernel killed a process of the group for lack of memory since the
    last report.

    Args:
        degraded: the check is degraded from this share of the memory limit on.
        failing: the check is failing from this share of the memory limit on.
        throttled: the check is degraded from this share of throttled periods on.
        root: a directory in place of ``/``, if the host's /proc and /sys are mounted elsewhere.
        name, timeout, critical: the same as in `checks.check`; the name is ``cgroup`` by default.

    Raises:
        Unsupported: this system has no control groups.
        ValueError: an argument is invalid.
    """
    rising_shares(degraded=degraded, failing=failing)
    rising_shares(throttled=throttled)
    place = os.fsdecode(root)
    if not os.path.exists(os.path.join(place, "proc/self/cgroup")):
        raise Unsupported(
            f"checks.cgroup() found no {os.path.join(place, 'proc/self/cgroup')}: this system has no "
            "control groups, so leave the check out"
        )
    look = _Look(place, degraded, failing, throttled)
    return check(look.look, name=name or "cgroup", timeout=timeout, critical=critical)


class _Look:
    """The thresholds, and the counters of the previous look."""

    def __init__(self, root: str, degraded: float, failing: float, throttled: float) -> None:
        self._root = root
        self._degraded = degraded
        self._failing = failing
        self._throttled = throttled
        self._oom_kills: int | None = None
        self._periods: tuple[int, int] | None = None

    def look(self) -> CheckResult:
        groups = groups_of_this_process(self._root)
        memory, memory_judged = self._memory(groups.get("memory"))
        cpu, cpu_judged = self._cpu(groups.get("cpu"))
        unified = groups.get("unified")
        value = {"memory": memory, "cpu": cpu, "pressure": unified.pressure() if unified else None}
        judged = memory_judged + cpu_judged
        worst = max(judged, key=lambda pair: _SEVERITY.index(pair[0]), default=("ok", ""))
        return CheckResult(value, worst[0], "; ".join(text for _, text in judged) or None)

    def _memory(self, group: Group | None) -> tuple[dict[str, Any] | None, list[_Judged]]:
        reading = group.memory() if group else None
        if group is None or reading is None:
            return None, []
        judged: list[_Judged] = []
        used = _share(reading)
        if used is not None and used >= self._degraded:
            status: _Status = "failing" if used >= self._failing else "degraded"
            judged.append((status, f"{used:.1%} of the {reading.limit} bytes of memory are used"))
        if reading.oom_kills is not None:
            killed = reading.oom_kills - (self._oom_kills or 0)
            if self._oom_kills is not None and killed > 0:
                judged.append(
                    ("degraded", f"killed for want of memory since the last report: {killed}")
                )
            self._oom_kills = reading.oom_kills
        value = {
            "version": group.version,
            "current": reading.current,
            "working_set": reading.working_set,
            "limit": reading.limit,
            "used": used,
            "oom_kills": reading.oom_kills,
        }
        return value, judged

    def _cpu(self, group: Group | None) -> tuple[dict[str, Any] | None, list[_Judged]]:
        reading = group.cpu() if group else None
        if group is None or reading is None:
            return None, []
        share = self._throttled_share(reading)
        value = {
            "version": group.version,
            "limit": reading.cores,
            "throttled": share,
            "throttled_seconds": reading.throttled_seconds,
        }
        if share is None or share < self._throttled:
            return value, []
        return value, [("degraded", f"throttled in {share:.0%} of the periods since the last report")]

    def _throttled_share(self, reading: CpuReading) -> float | None:
        before, self._periods = self._periods, (reading.periods, reading.throttled)
        if before is None or reading.periods < before[0]:  # now another group
            return None
        periods = reading.periods - before[0]
        return round((reading.throttled - before[1]) / periods, 4) if periods else 0.0


def _share(reading: MemoryReading) -> float | None:
    return round(reading.working_set / reading.limit, 4) if reading.limit else None


if TYPE_CHECKING:
    _Status = Literal["ok", "degraded", "failing"]
    _Judged = tuple[_Status, str]
