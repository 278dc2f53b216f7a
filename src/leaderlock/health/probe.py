"""Whether a health report is new and good, told from the file that ``sinks.file`` writes.

A probe runs every few seconds, so this imports neither `leaderlock.health` nor the lock.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""Of the reports that are understood."""

INTERVALS = 3
"""So many of the reporter's intervals is a report good for, if nothing else is said."""

_LONGEST = 16 << 20
"""Bytes; no report is longer."""


class NotHealthyError(Exception):
    """Why the answer is no."""


def judge(report: dict[str, Any], changed: float, max_age: float | None = None) -> str:
    """Say in one line that a report is good.

    Args:
        report: as `read` returns it.
        changed: when its file was.
        max_age: seconds that it may be old; three of the reporter's intervals by default.

    Raises:
        NotHealthyError: it is not: failing, or too old.
    """
    if max_age is None:
        max_age = INTERVALS * report["reporter"]["interval"]
    now = time.time()
    age = max(now - report["time"], now - changed)
    if age > max_age:
        raise NotHealthyError(
            f"the report is {age:.1f} s old, and may be {max_age:g} s: nobody reports"
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
    """The report in a file, of the form that is understood, and when the file was changed.

    Raises:
        NotHealthyError: there is none.
    """
    content, changed = _content_of(path)
    return _parse(content), changed


def _content_of(path: str) -> tuple[bytes, float]:
    """Of a regular file; nothing else is waited for or read."""
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
        raise NotHealthyError("there is no report: nobody has led yet, or the path is wrong") from None
    except (OSError, ValueError) as error:  # not readable by us; a NUL byte in the path
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise NotHealthyError(f"it cannot be read: {text}") from None


def _parse(content: bytes) -> dict[str, Any]:
    """The report, of which all that is looked at here has its form."""
    try:
        report: dict[str, Any] = json.loads(content)
        version = report["version"]
        if version == VERSION and _is_of_its_form(report):
            return report
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
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
