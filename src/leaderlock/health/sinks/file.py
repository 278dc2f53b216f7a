"""The newest report as a file that readers always find whole."""

from __future__ import annotations

import json
import os

from leaderlock.kernel.replacement import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def file(path: str | os.PathLike[str], *, mode: int = 0o644) -> Callable[[Mapping[str, Any]], None]:
    """A sink that replaces a file by each report, in one step: a reader sees the old or the new one.

    `leaderlock health` reads it. If a report cannot be written (a full or read-only disk, a directory
    that has gone), the sink raises OSError, and the old report stays: its age tells. No file that
    somebody else has put into the directory is written to or waited for. It is not synced to the disk:
    what describes the present is of no use after a crash of the machine.

    Args:
        path: the file; its directory must exist and be writable, for the new file is made beside it.
        mode: the permissions of the file.
    """
    target = os.path.abspath(os.fsdecode(path))

    def write(report: Mapping[str, Any]) -> None:
        replace_file(target, json.dumps(report, indent=1).encode() + b"\n", mode)

    write.__qualname__ = f"sinks.file({target!r})"
    return write
