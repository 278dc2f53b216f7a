"""``leaderlock status``: who leads, since when, who waits, and what is wrong."""

from __future__ import annotations

import contextlib
import os
import sys
import time

from leaderlock.cli.command import Command
from leaderlock.cli.names import NAMES, NOTES, chosen
from leaderlock.cli.options import HELP, Option
from leaderlock.cli.status_text import as_text
from leaderlock.errors import LeaderLockError, UnsafeLockFile, Unsupported
from leaderlock.status.lock import open_at, statuses_of
from leaderlock.status.machine import find_locks
from leaderlock.status.opened import MissingLockFile, process_in
from leaderlock.status.view import View
from leaderlock.wording import json_text as as_json_text
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from leaderlock.status import LockStatus
    from leaderlock.status.machine import Found
    from leaderlock.status.opened import Opened

FAILED = 125

VERSION = 1
"""Of the JSON document."""

_OPEN_AT_ONCE = 100
"""Locks whose files are open at the same time: each takes two descriptors."""

OPTIONS = (
    HELP,
    NAMES,
    Option("--all", help="show all processes that wait, however many"),
    Option("--json", help="one JSON document in place of text"),
    Option("--watch", help="run on, and show each change; Ctrl-C ends it"),
)

COMMAND = Command(
    "status",
    "who leads, and who waits",
    operands="[PATH|NAME...]",
    completes="lock",
    text="""\
Shows which process holds each lock, since when and in which term, and which processes
wait for it, in the order in which they will get it. The kernel tells that (/proc/locks).
It also shows what is wrong with a lock. Without a path, it shows every leaderlock lock on
the machine that it can see. It names what this user may not see; root sees all.""",
    groups=(("Options", OPTIONS),),
    notes=f"""\
With --watch, a terminal is redrawn; anything else gets one block, or with --json one
line, for each change.

{NOTES}""",
    statuses=(
        ("0", "all locks that were asked for are shown"),
        ("125", "a lock file is missing or cannot be read"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock status", "Every lock on the machine that can be seen."),
        ("leaderlock status beat", "The lock that `leaderlock run --name beat` takes."),
        ("leaderlock status --watch /run/app/leader.lock", "See a failover as it happens."),
        (
            "leaderlock status --json /run/app/leader.lock | jq .locks[0].holder.pid",
            "The leader's process ID, for a script.",
        ),
    ),
)


class Survey:
    """What there is to show at one moment.

    Attributes:
        locks: their status.
        errors: why others have none.
        hidden: what could not be looked for.
    """

    def __init__(self) -> None:
        self.time = time.time()
        self.locks: list[LockStatus] = []
        self.errors: list[str] = []
        self.hidden: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every lock that was asked for could be read."""
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "version": VERSION,
            "time": self.time,
            "locks": [lock.as_json() for lock in self.locks],
            "hidden": self.hidden,
        }


def main(words: Sequence[str]) -> int:
    """Print the status of the locks, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    as_json, everything = bool(parsed.get("json")), bool(parsed.get("all"))
    if hasattr(sys.stdout, "reconfigure"):  # "…" where the locale's encoding has none
        sys.stdout.reconfigure(errors="backslashreplace")
    paths = chosen(parsed)
    if parsed.get("watch"):
        try:
            from leaderlock.cli.status_watch import watch  # noqa: PLC0415  (its events need ctypes)
        except ImportError as missing:
            raise Unsupported(f"--watch needs the events of Linux: {missing}") from missing
        return watch(paths, as_json, everything)
    survey = survey_of(paths)
    for error in survey.errors:
        print(f"leaderlock: {printable(error)}", file=sys.stderr)
    if as_json:
        print(json_text(survey, indent=1))
    else:
        draw = drawing()
        draw(survey, everything)
    return 0 if survey.is_complete else FAILED


def survey_of(
    paths: Sequence[str],
    open_file: Callable[[str, View], Opened] = open_at,
    find: Callable[[View], Found] = lambda view: find_locks(view=view),
) -> Survey:
    """The status of the locks at these paths, or of all that can be found.

    The kernel's tables are read once for all of them, whatever their number.
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
    """Whether a lock that was found is there no more; its descriptor may be another file's by now."""
    return isinstance(error, MissingLockFile) or (
        isinstance(error, UnsafeLockFile) and process_in(path) is not None
    )


def drawing() -> Callable[[Survey, bool], None]:
    """How to draw here: with rich on a terminal, if it is installed; else as plain text."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        try:
            from leaderlock.cli.status_screen import draw  # noqa: PLC0415  (rich takes 50 ms)
        except ImportError:
            return draw_plain
        return draw
    return draw_plain


def draw_plain(survey: Survey, everything: bool) -> None:
    """Print the plain layout."""
    print(plain_text(survey, everything), end="")


def plain_text(survey: Survey, everything: bool) -> str:
    """A block for each lock, with a blank line between."""
    blocks = [as_text(lock, everything) for lock in survey.locks]
    if not blocks and not survey.errors:
        blocks = ["There are no leaderlock locks on this machine that can be seen from here."]
    text = "\n\n".join(blocks) + "\n" if blocks else ""
    if survey.hidden is not None:
        text += f"\nhidden: {printable(survey.hidden)}\n"
    return text


def json_text(survey: Survey, indent: int | None) -> str:
    """The JSON document as text."""
    return as_json_text(survey.as_json(), indent)
