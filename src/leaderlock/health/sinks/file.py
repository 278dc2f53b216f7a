"""The newest report as a file that readers always find whole."""

from __future__ import annotations

import json
import os

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def file(path: str | os.PathLike[str], *, mode: int = 0o644) -> Callable[[Mapping[str, Any]], None]:
    """A sink that replaces a file by each report, in one step: a reader sees the old or the new one.

    `leaderlock health` reads it. If a report cannot be written (a full or read-only disk, a directory
    that has gone), the sink raises OSError, and the old report stays: its age tells.

    Args:
        path: the file; its directory must exist and be writable, for the new file is made beside it.
        mode: the permissions of the file.
    """
    target = os.path.abspath(os.fsdecode(path))

    def write(report: Mapping[str, Any]) -> None:
        replace_file(target, json.dumps(report, indent=1) + "\n", mode)

    write.__qualname__ = f"sinks.file({target!r})"
    return write


def replace_file(target: str, content: str, mode: int) -> None:
    """Put new content in a file's place, whole or not at all.

    Not synced to the disk: what describes the present is of no use after a crash of the machine.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    # The process ID keeps the files of two writers apart, should there ever be two.
    temporary = f"{target}.{os.getpid()}.tmp"
    try:
        with open(os.open(temporary, _NEW_FILE, mode), "w", encoding="utf-8") as new:
            os.fchmod(new.fileno(), mode)  # whatever the umask
            new.write(content)
        os.replace(temporary, target)
    except OSError:
        if os.path.lexists(temporary):
            os.unlink(temporary)  # a full disk has no use for half a report
        raise
