"""Tells what a process imports too late: from `forbid` on, whatever leaderlock needs must be loaded.

The package may be replaced on disk, and the rights to read it be dropped, while a process waits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import FrozenImporter
from types import CodeType, FrameType, ModuleType

_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_DECORATIONS = {"ast", "unicodedata", "_suggestions"}
"""What `traceback` imports to mark a line more finely; it goes without where that fails."""
_TRACEBACK = os.path.join(_STANDARD_LIBRARY, "traceback.py")
_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "src", "leaderlock")


def _files_of(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        code: CodeType = frame.f_code
        if not code.co_filename.startswith("<frozen"):
            yield code.co_filename
        frame = frame.f_back


class _Watcher:
    """Finds nothing, and notes what it was asked for on behalf of leaderlock."""

    def __init__(self, report: str) -> None:
        self._report = report

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        if name in sys.builtin_module_names or FrozenImporter.find_spec(name) is not None:
            return
        for file in _files_of(sys._getframe(1)):
            if name in _DECORATIONS and file == _TRACEBACK:
                return
            in_packages = "site-packages" in file or not file.startswith(_STANDARD_LIBRARY)
            if not in_packages:
                continue  # on behalf of whoever called the standard library
            if file.startswith(_OURS):
                with open(self._report, "a", encoding="utf-8") as report:
                    report.write(f"{name} for {os.path.relpath(file, _OURS)}\n")
            return


def forbid(report: str) -> None:
    """Note in a file, from now on, each import of this process and its children that needs a file."""
    sys.meta_path.insert(0, _Watcher(report))


def late(report: str) -> list[str]:
    """What was imported too late; each import, and the file of leaderlock that needed it."""
    if not os.path.exists(report):
        return []
    with open(report, encoding="utf-8") as lines:
        return sorted(set(lines.read().splitlines()))
