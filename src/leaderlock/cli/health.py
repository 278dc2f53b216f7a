"""``leaderlock health``: whether the newest report is good, for a container's probe.

A probe runs every few seconds, so this imports neither `leaderlock.health` nor the lock.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time

from leaderlock.cli.options import Option, UsageError, help_of, parse, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HEALTHY = 0
NOT_HEALTHY = 1

VERSION = 1
"""Of the reports that are understood."""

_INTERVALS = 3
"""So many of the reporter's intervals is a report good for, if --max-age does not say otherwise."""

_LONGEST = 16 << 20
"""Bytes; no report is longer."""

OPTIONS = (
    Option("-h", "--help", help="show this"),
    Option(
        "--max-age",
        value="SECONDS",
        convert=seconds,
        help="an older report is not healthy (default: 3 × the reporter's interval)",
    ),
)

HELP = f"""\
leaderlock health [OPTION...] FILE

Tells by its exit status whether the report in FILE, as sinks.file(FILE) writes it, is
new and good, and says why in one line. Its age is by its own time or that of the file,
whichever is older. A degraded service is healthy: to restart it would not mend it.

A leader that hangs is replaced when its lease is over: where the reporter has one, let
--max-age be longer than the lease, an interval and the slowest check together.

{help_of(OPTIONS)}

Exit status: 0 if the status is ok or degraded; 1 if it is failing, or the report is too
old, missing, or none; 2 for wrong usage.
"""


class _NotHealthyError(Exception):
    """Why the answer is no."""


def main(words: Sequence[str]) -> int:
    """Print the line, and return the exit status."""
    parsed = parse(OPTIONS, words, to_first_word=False)
    if parsed.get("help"):
        print(HELP, end="")
        return 0
    if len(parsed.words) != 1:
        raise UsageError("one FILE is needed, that of sinks.file()")
    [path] = parsed.words
    try:
        print(_printable(_judge(path, parsed.get("max_age"))))
    except _NotHealthyError as why:
        print(_printable(f"not healthy: {path}: {why}"))
        return NOT_HEALTHY
    return HEALTHY


def _judge(path: str, max_age: float | None) -> str:
    content, changed = _read(path)
    report = _parse(content)
    if max_age is None:
        max_age = _INTERVALS * report["reporter"]["interval"]
    now = time.time()
    age = max(now - report["time"], now - changed)
    if age > max_age:
        raise _NotHealthyError(
            f"the report is {age:.1f} s old, and may be {max_age:g} s: nobody reports"
        )
    if -age > max_age:
        raise _NotHealthyError(f"the report is {-age:.1f} s ahead of the clock, so its age is unknown")
    status = report["status"]
    troubles = _troubles(report["checks"])
    if status == "failing":
        raise _NotHealthyError(f"failing: {troubles}" if troubles else "failing")
    if status == "degraded":
        return f"healthy, but degraded: {troubles}" if troubles else "healthy, but degraded"
    return f"healthy: process {report['leader']['pid']} reported {max(age, 0):.1f} s ago"


def _read(path: str) -> tuple[bytes, float]:
    """The content of a regular file, and when it was changed; nothing else is waited for or read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would block
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _NotHealthyError("it is not a regular file; sinks.file() writes one")
        with open(fd, "rb") as file:
            return file.read(_LONGEST), found.st_mtime
    except FileNotFoundError:
        raise _NotHealthyError("there is no report: nobody has led yet, or the path is wrong") from None
    except (OSError, ValueError) as error:  # not readable by us; a NUL byte in the path
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise _NotHealthyError(f"it cannot be read: {text}") from None


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
        raise _NotHealthyError("it is not a report; sinks.file() writes one")
    raise _NotHealthyError(f"it is a report of version {version!r}, which is not understood")


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


def _printable(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 1000 else line[:999] + "…"
