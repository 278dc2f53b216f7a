"""The facts behind the page, the documents and the metrics, read at one moment."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from leaderlock.errors import LeaderLockError
from leaderlock.health.probe import NotHealthyError, judge, read
from leaderlock.history.reading import History, history_beside
from leaderlock.kernel.arguments import path_text
from leaderlock.status.survey import Survey, survey_of
from leaderlock.status.text import lines_of_election
from leaderlock.wording import printable_within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from leaderlock.status import LockStatus
    from leaderlock.status.elections import Elections


class Health(NamedTuple):
    """The newest health report.

    Attributes:
        path: the file of the report.
        report: None if no report can be read.
        good: whether the report is new, and not failing.
        line: the report's state in one line.
    """

    path: str
    report: dict[str, Any] | None
    good: bool
    line: str


class Facts:
    """What the page shows, read at one moment.

    Args:
        paths: the lock files; if empty, and without elections, every visible lock on the machine.
        elections: the elections in engines, or None.
        health: the file of the health report, or None.

    Attributes:
        now: the time in seconds since the epoch.
        survey: the status of the locks and elections, and the reason for each that cannot be read.
        health: None if no report file was given.
    """

    def __init__(self, paths: Sequence[str], elections: Elections | None, health: str | None) -> None:
        self.now = time.time()
        self._every_one_is_wanted = bool(paths) or elections is not None
        self.survey: Survey = survey_of(paths) if paths or elections is None else Survey()
        if elections is not None:
            self.survey.add(elections.look())
        self.health = None if health is None else _health(health)

    def is_led(self) -> bool:
        """Whether every named lock has a leader; if none is named, whether any lock has one."""
        survey = self.survey
        led = [lock.holder is not None for lock in survey.locks]
        led += [election.leader is not None for election in survey.elections]
        if not self._every_one_is_wanted:
            return any(led)
        return not survey.errors and all(led)

    def health_line(self) -> str:
        """One line: whether there is a leader, and whether the report is good."""
        survey = self.survey
        parts = [
            f"process {lock.holder.pid} leads {lock.path}"
            if lock.holder
            else f"nobody leads {lock.path}"
            for lock in survey.locks
        ]
        parts += [
            f"{election.address}: {lines_of_election(election, self.now)[0]}"
            for election in survey.elections
        ]
        parts += survey.errors
        if self.health is not None:
            parts.append(self.health.line)
        return "; ".join(parts or ["there is no lock"])


def history_or_why_not(lock: LockStatus) -> History | str:
    """The history of a lock, or the reason why it cannot be read."""
    try:
        return history_beside(lock.path, None if lock.holder is None else lock.holder.term)
    except LeaderLockError as error:  # not permitted, gone meanwhile, or a lock without a path
        return str(error)


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute path, since a server may change its directory.

    Raises:
        TypeError, ValueError: the path names no file.
    """
    return os.path.abspath(path_text(path, name="a path"))


def _health(path: str) -> Health:
    report = None
    try:
        report, changed = read(path)
        report = printable_within(report)
        return Health(path, report, True, judge(report, changed))
    except NotHealthyError as why:
        return Health(path, report, False, f"not healthy: {why}")
