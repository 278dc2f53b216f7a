"""Decides whether a health report is new and good, from the file that ``sinks.file`` writes.

A probe runs every few seconds, so this module imports neither `leaderlock.health` nor the lock.
"""

from __future__ import annotations

import math
import os
import stat
import time

from leaderlock.kernel.foreign_json import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""The version of the reports that this module understands."""

INTERVALS = 3
"""A report is stale after this many of the reporter's intervals, unless `max_age` is given."""

_LONGEST = 16 << 20
"""The most bytes that a report may have."""


class NotHealthyError(Exception):
    """The report is missing, stale or failing; the text says which."""


def judge(report: dict[str, Any], changed: float, max_age: float | None = None) -> str:
    """Return one line about a good report.

    Args:
        report: the result of `read`.
        changed: the modification time of its file.
        max_age: the greatest age in seconds; by default three of the reporter's intervals.

    Raises:
        NotHealthyError: the report is failing or too old.
    """
    if max_age is None:
        max_age = INTERVALS * report["reporter"]["interval"]
    now = time.time()
    age = max(now - report["time"], now - changed)
    if age > max_age:
        raise NotHealthyError(
            f"the report is {age:.1f} s old; it should be at most {max_age:g} s: no leader is reporting"
        )
    if -age > max_age:
        raise NotHealthyError(f"the report is {-age:.1f} s ahead of the clock, so its age is unknown")
    status = report["status"]
    troubles = _troubles(report["checks"])
    if status == "failing":
        raise NotHealthyError(f"failing: {troubles}" if troubles else "failing")
    if status == "degraded":
        return f"healthy, but degraded: {troubles}" if troubles else "healthy, but degraded"
    return f"healthy: process {report['leader']['pid']} reported {max(age, 0):.1f} s ago"


def read(path: str) -> tuple[dict[str, Any], float]:
    """Read and verify the report in a file; return it and the file's modification time.

    Raises:
        NotHealthyError: there is no valid report.
    """
    content, changed = _content_of(path)
    return _parse(content), changed


def _content_of(path: str) -> tuple[bytes, float]:
    """The content and modification time of a regular file; any other file is refused unread."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise NotHealthyError("it is not a regular file; sinks.file() writes one")
            content = b""
            while len(content) < _LONGEST and (piece := os.read(fd, 1 << 20)):
                content += piece
            return content, found.st_mtime
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise NotHealthyError(
            "there is no report: no leader has written one, or the path is wrong"
        ) from None
    except (OSError, ValueError) as error:  # not readable by us; a NUL byte in the path
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise NotHealthyError(f"it cannot be read: {text}") from None


def _parse(content: bytes) -> dict[str, Any]:
    """The report; every part that this module reads has the expected form."""
    try:
        report: dict[str, Any] = parsed(content)
        version = report["version"]
        if version == VERSION and _is_of_its_form(report):
            return report
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        version = None
    if version in (None, VERSION):
        raise NotHealthyError("it is not a report; sinks.file() writes one")
    raise NotHealthyError(f"it is a report of version {version!r}, which is not understood")


def _is_of_its_form(report: dict[str, Any]) -> bool:
    return (
        report["status"] in ("ok", "degraded", "failing")
        and math.isfinite(report["time"])
        and math.isfinite(report["reporter"]["interval"])
        and isinstance(report["leader"]["pid"], int)
        and all(isinstance(check["status"], str) for check in report["checks"].values())
    )


def _troubles(checks: dict[str, dict[str, Any]]) -> str:
    """The checks that are not ok, critical ones first, and their errors."""
    found = [(name, check) for name, check in checks.items() if check["status"] != "ok"]
    found.sort(key=lambda item: not item[1].get("critical"))
    return "; ".join(
        f"{name}: {check['error']}" if check.get("error") else f"{name} is {check['status']}"
        for name, check in found
    )
