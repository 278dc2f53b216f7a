"""Free space on a file system, from statvfs(3)."""

from __future__ import annotations

import os

from leaderlock.health.checks.check import Check, CheckResult, check, rising_shares
from leaderlock.kernel.arguments import names_near_keyword, path_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal


@names_near_keyword
def disk(
    path: str | os.PathLike[str],
    *,
    degraded: float = 0.9,
    failing: float = 0.95,
    name: str | None = None,
    timeout: float | None = None,
    critical: bool = False,
) -> Check[CheckResult]:
    """A check of the space and the inodes left on the file system of a path.

    Its value: `total` and `free` bytes (free to users other than root), `used` (a share, from 0 to 1,
    as in df(1)), and `inodes`, `inodes_free`, `inodes_used`, which are null on file systems that do not
    count inodes (btrfs). The higher of the two shares decides the status.

    Args:
        path: any file or directory of the file system. If the path is missing, the check fails.
        degraded: the check is degraded from this used share on.
        failing: the check is failing from this used share on.
        name, timeout, critical: the same as in `checks.check`; the name is ``disk:PATH`` by default.

    Raises:
        TypeError, ValueError: an argument is invalid.
    """
    place = os.path.abspath(path_text(path, "a file or a directory"))
    rising_shares(degraded=degraded, failing=failing)

    def disk() -> CheckResult:
        room = os.statvfs(place)
        space = _share(room.f_blocks - room.f_bfree, room.f_bavail)
        inodes = _share(room.f_files - room.f_ffree, room.f_favail)
        value = {
            "path": place,
            "total": room.f_blocks * room.f_frsize,
            "free": room.f_bavail * room.f_frsize,
            "used": space,
            "inodes": room.f_files or None,
            "inodes_free": room.f_favail if room.f_files else None,
            "inodes_used": inodes,
        }
        worst, what = max((space or 0, "space"), (inodes or 0, "inodes"))
        status: Literal["ok", "degraded", "failing"] = "ok"
        if worst >= degraded:
            status = "failing" if worst >= failing else "degraded"
        error = None if status == "ok" else f"{worst:.1%} of the {what} of {place} is used"
        return CheckResult(value, status, error)

    return check(disk, name=name or f"disk:{place}", timeout=timeout, critical=critical)


def _share(used: int, free: int) -> float | None:
    """The used share for users: blocks reserved for root count neither as used nor as free."""
    return round(used / (used + free), 4) if used + free else None
