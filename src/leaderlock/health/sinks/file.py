"""Keeps the newest report in a file that readers never see half-written."""

from __future__ import annotations

import json
import os

from leaderlock.kernel.arguments import names_near_keyword, path_text, permission_bits
from leaderlock.kernel.replacement import replace_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


@names_near_keyword
def file(path: str | os.PathLike[str], *, mode: int = 0o644) -> Callable[[Mapping[str, Any]], None]:
    """A sink that replaces a file by each report, in one step: a reader sees the old or the new one.

    `leaderlock health` reads the file. If a report cannot be written (a full or read-only disk, a
    missing directory), the sink raises OSError, and the old report stays; its age shows the failure.
    The sink never writes to or waits for a file that another user has put into the directory. The file
    is not synced to the disk: a report about the present is useless after a crash of the machine.

    Args:
        path: the file. Its directory must exist and be writable, since the new file is made there
            first.
        mode: the permissions of the file.

    Raises:
        TypeError, ValueError: an argument is invalid.
    """
    target = os.path.abspath(path_text(path))
    permission_bits(mode)

    def write(report: Mapping[str, Any]) -> None:
        replace_file(target, json.dumps(report, indent=1).encode() + b"\n", mode)

    write.__qualname__ = f"sinks.file({target!r})"
    return write
