"""The status of several locks at one moment: the named ones, or all on the machine."""

from __future__ import annotations

import contextlib
import time

from leaderlock.errors import LeaderLockError, UnsafeLockFile
from leaderlock.status.facts import process_in
from leaderlock.status.gathering.lock import facts_about
from leaderlock.status.gathering.machine import search
from leaderlock.status.gathering.opened import MissingLockFile, open_at
from leaderlock.status.gathering.view import View
from leaderlock.status.judging.hidden import unsearched_by
from leaderlock.status.judging.lock import status_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from leaderlock.history.reading import History
    from leaderlock.status.elections import Answer
    from leaderlock.status.facts import LockFacts, SearchFacts
    from leaderlock.status.fleet import ElectionStatus
    from leaderlock.status.gathering.opened import Opened
    from leaderlock.status.model import LockStatus

VERSION = 1
"""The version of the JSON document."""


_OPEN_AT_ONCE = 100
"""The most locks whose files are open at the same time; each lock takes two descriptors."""


class Survey:
    """The result of one look at several locks.

    Attributes:
        time: when the look began, in seconds since the epoch.
        locks: the statuses.
        errors: why the other locks have no status.
        hidden: places that could not be searched.
        elections: the statuses of elections in engines.
        histories: the histories of these elections, in the same order, if they were asked for.
    """

    def __init__(self) -> None:
        self.time = time.time()
        self.locks: list[LockStatus] = []
        self.errors: list[str] = []
        self.hidden: str | None = None
        self.elections: list[ElectionStatus] = []
        self.histories: list[History] = []

    @property
    def is_complete(self) -> bool:
        """Whether every requested lock could be read."""
        return not self.errors

    def add(self, answers: Iterable[Answer]) -> None:
        """Add the elections that answer, and a line for each one that does not."""
        for answer in answers:
            if answer.status is not None:
                self.elections.append(answer.status)
            else:
                self.errors.append(answer.problem)
            if answer.history is not None:
                self.histories.append(answer.history)

    def as_json(self) -> dict[str, Any]:
        """The JSON document."""
        document: dict[str, Any] = {
            "version": VERSION,
            "time": self.time,
            "locks": [lock.as_json() for lock in self.locks],
            "hidden": self.hidden,
        }
        if self.elections:
            document["elections"] = [election.as_json() for election in self.elections]
        if self.errors:
            document["errors"] = self.errors
        return document


def survey_of(
    paths: Sequence[str],
    open_file: Callable[[str, View], Opened] = open_at,
    find: Callable[[View], SearchFacts] = search,
) -> Survey:
    """The status of the locks at these paths, or of all locks that can be found.

    The kernel's tables are read once for all locks together.
    """
    survey, view = Survey(), View()
    chosen = list(paths)
    if not chosen:
        found = find(view)
        chosen, survey.hidden = found.paths, unsearched_by(view.asker, found)
    facts, errors = _gather(chosen, open_file, view)
    now = time.time()
    survey.locks = [status_from(each, view.asker, now) for each in facts]
    survey.errors = [str(error) for path, error in errors if paths or not _has_gone(error, path)]
    if paths:
        survey.errors += [
            f"{lock.path}: its record cannot be read: {lock.unreadable}"
            for lock in survey.locks
            if lock.unreadable is not None
        ]
    return survey


def _gather(
    paths: Sequence[str], open_file: Callable[[str, View], Opened], view: View
) -> tuple[list[LockFacts], list[tuple[str, LeaderLockError]]]:
    """The facts about each lock, and the errors of those that could not be opened."""
    facts: list[LockFacts] = []
    errors: list[tuple[str, LeaderLockError]] = []
    for start in range(0, len(paths), _OPEN_AT_ONCE):
        with contextlib.ExitStack() as files:
            opened = []
            for path in paths[start : start + _OPEN_AT_ONCE]:
                try:
                    file = open_file(path, view)
                except LeaderLockError as error:
                    errors.append((path, error))
                    continue
                if not file.kept:
                    files.enter_context(file)
                opened.append(file)
            facts += facts_about(opened, view)
    return facts, errors


def _has_gone(error: LeaderLockError, path: str) -> bool:
    """Whether a lock that was found is gone; its descriptor number may mean another file by now."""
    return isinstance(error, MissingLockFile) or (
        isinstance(error, UnsafeLockFile) and process_in(path) is not None
    )
