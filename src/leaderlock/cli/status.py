"""``leaderlock status``: who leads, since when, and who waits."""

from __future__ import annotations

import glob
import json
import os
import sys
import time

from leaderlock.cli.options import Option, help_of, parse
from leaderlock.directory import lock_directory
from leaderlock.errors import LeaderLockError
from leaderlock.kernel.processes import command_line
from leaderlock.lock import LeaderLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from leaderlock.holder import Standing

FAILED = 125

OPTIONS = (
    Option("-h", "--help", help="show this"),
    Option("--json", help="one JSON document in place of text"),
)

HELP = f"""\
leaderlock status [OPTION...] [PATH...]

Tells who holds each lock, since when and in which term, and which processes wait for
it, in the order in which they will get it: as the kernel has it, from /proc/locks.
Without a path, all locks that have a name are shown.

{help_of(OPTIONS)}

Exit status: 0; 125 if a lock file is missing or cannot be read; 2 for wrong usage.
"""


def main(words: Sequence[str]) -> int:
    """Print the status of the locks, and return the exit status."""
    parsed = parse(OPTIONS, words, to_first_word=False)
    if parsed.get("help"):
        print(HELP, end="")
        return 0
    paths = parsed.words or sorted(glob.glob(os.path.join(glob.escape(lock_directory()), "*.lock")))
    described: list[dict[str, Any]] = []
    failed = False
    for path in paths:
        try:
            described.append(_describe(path))
        except LeaderLockError as error:
            print(f"leaderlock: {error}", file=sys.stderr)
            failed = True
    if parsed.get("json"):
        print(json.dumps({"version": 1, "locks": described}, indent=1))
    elif described:
        print("\n\n".join(map(_as_text, described)))
    elif not failed:
        print(f"There are no locks in {lock_directory()}.")
    return FAILED if failed else 0


def _describe(path: str) -> dict[str, Any]:
    lock = LeaderLock(path)
    standing = lock._standing()
    if standing is None:
        raise LeaderLockError(f"{lock.path} does not exist: nobody has used this lock yet")
    return {
        "path": lock.path,
        "holder": _holder(standing),
        "waiting": [{"pid": pid, "command": command_line(pid)} for pid in standing.waiting],
    }


def _holder(standing: Standing) -> dict[str, Any] | None:
    holder = standing.holder
    if holder is None:
        return None
    return {
        "pid": holder.pid,
        "command": command_line(holder.pid),
        "term": holder.term,
        "since": holder.since,
        "host": holder.host,
    }


def _as_text(lock: dict[str, Any]) -> str:
    lines = [lock["path"]]
    holder = lock["holder"]
    if holder is None:
        lines.append("  leader   nobody")
    else:
        lines.append(f"  leader   {_process(holder)}")
        if holder["term"] is None:
            lines.append("  term     unknown: it was not locked by leaderlock")
        else:
            lines.append(f"  term     {holder['term']}, on {holder['host']}")
            lines.append(f"  since    {_since(holder['since'])}")
    waiting = lock["waiting"]
    lines.append(f"  waiting  {len(waiting)}" + (", next first:" if len(waiting) > 1 else ""))
    lines += [f"           {_process(process)}" for process in waiting]
    return "\n".join(lines)


def _process(process: dict[str, Any]) -> str:
    command = process["command"] or "(command line not visible)"
    printable = "".join(c if c.isprintable() else "?" for c in command)
    return f"{process['pid']}  {printable if len(printable) <= 80 else printable[:79] + '…'}"


def _since(moment: float) -> str:
    date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    seconds = int(max(time.time() - moment, 0))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
    ago = " ".join(f"{count} {unit}" for count, unit in [*parts, (seconds % 60, "s")] if count)
    return f"{date} ({ago or 'less than a second'} ago)"
