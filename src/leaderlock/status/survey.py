"""The status of several locks at one moment: the named ones, or all on the machine."""

from __future__ import annotations

import contextlib
import time

from leaderlock.errors import LeaderLockError, UnsafeLockFile
from leaderlock.status.lock import open_at, statuses_of
from leaderlock.status.machine import find_locks
from leaderlock.status.opened import MissingLockFile, process_in
from leaderlock.status.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from leaderlock.status.machine import Found
    from leaderlock.status.model import LockStatus
    from leaderlock.status.opened import Opened

VERSION = 1
"""The version of the JSON document."""


_OPEN_AT_ONCE = 100
"""The most locks whose files are open at the same time; each lock takes two descriptors."""


class Survey:
    """The result of one look at several locks.

    Attributes:
        locks: the statuses.
        errors: why the other locks have no status.
        hidden: places that could not be searched.
    """

    def __init__(self) -> None:
        self.time = time.time()
        self.locks: list[LockStatus] = []
        self.errors: list[str] = []
        self.hidden: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every requested lock could be read."""
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "version": VERSION,
            "time": self.time,
            "locks": [lock.as_json() for lock in self.locks],
            "hidden": self.hidden,
        }


def survey_of(
    paths: Sequence[str],
    open_file: Callable[[str, View], Opened] = open_at,
    find: Callable[[View], Found] = lambda view: find_locks(view=view),
) -> Survey:
    """The status of the locks at these paths, or of all locks that can be found.

    The kernel's tables are read once for all locks together.
    """
    survey, view = Survey(), View()
    chosen = list(paths)
    if not chosen:
        chosen, survey.hidden = find(view)
    for start in range(0, len(chosen), _OPEN_AT_ONCE):
        with contextlib.ExitStack() as files:
            opened = []
            for path in chosen[start : start + _OPEN_AT_ONCE]:
                try:
                    file = open_file(path, view)
                except LeaderLockError as error:
                    if paths or not _has_gone(error, path):
                        survey.errors.append(str(error))
                    continue
                if not file.kept:
                    files.enter_context(file)
                opened.append(file)
            survey.locks += statuses_of(opened, view)
    if paths:
        survey.errors += [
            f"{lock.path}: its record cannot be read: {lock.unreadable}"
            for lock in survey.locks
            if lock.unreadable is not None
        ]
    return survey


def _has_gone(error: LeaderLockError, path: str) -> bool:
    """Whether a lock that was found is gone; its descriptor number may mean another file by now."""
    return isinstance(error, MissingLockFile) or (
        isinstance(error, UnsafeLockFile) and process_in(path) is not None
    )
