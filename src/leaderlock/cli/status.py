"""``leaderlock status``: shows the leader, the start of its term, the queue, and the problems."""

from __future__ import annotations

import sys

from leaderlock.cli.command import Command
from leaderlock.cli.names import NAMES, NOTES, chosen, split
from leaderlock.cli.options import HELP, Option, UsageError
from leaderlock.cli.status_layout import drawing
from leaderlock.cli.status_text import json_text
from leaderlock.errors import Unsupported
from leaderlock.status.survey import Survey, survey_of
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.status.elections import Elections

FAILED = 125


OPTIONS = (
    HELP,
    NAMES,
    Option("--all", help="show all waiting processes, however many"),
    Option("--json", help="one JSON document in place of text"),
    Option("--watch", help="keep running, and show each change; Ctrl-C ends it"),
)

COMMAND = Command(
    "status",
    "who leads, and who waits",
    operands="[PATH|NAME|URL...]",
    completes="lock",
    text="""\
Shows which process holds each lock, since when and in which term, and which processes
wait for it, in the order in which they will get it. The data comes from the kernel
(/proc/locks). The command also shows what is wrong with a lock. Without a path, it shows
every leaderlock lock on the machine that it can see, and says what this user may not see;
root sees everything. For the URL of a fleet's election it shows the leader, on any
machine, as the engine reports it.""",
    groups=(("Options", OPTIONS),),
    notes=f"""\
With --watch, a terminal is redrawn; anything else gets one block, or with --json one
line, for each change. An engine is asked every two seconds, and one that does not answer is
asked again.

{NOTES}""",
    statuses=(
        ("0", "all locks that were asked for are shown"),
        ("125", "a lock file is missing or cannot be read, or an engine does not answer"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock status", "Every lock on the machine that can be seen."),
        ("leaderlock status beat", "The lock that `leaderlock run --name beat` takes."),
        ("leaderlock status --watch /run/app/leader.lock", "See a failover as it happens."),
        ("leaderlock status etcd://h1,h2,h3/app/beat", "The election of a fleet, as etcd tells it."),
        (
            "leaderlock status --json /run/app/leader.lock | jq .locks[0].holder.pid",
            "The leader's process ID, for a script.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Print the status of the locks, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    as_json, everything = bool(parsed.get("json")), bool(parsed.get("all"))
    if hasattr(sys.stdout, "reconfigure"):  # "…" may be missing in the locale's encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    urls, parsed.words = split(parsed.words)
    paths = chosen(parsed)
    if parsed.get("watch"):
        try:
            from leaderlock.cli.status_watch import watch  # noqa: PLC0415  (its events need ctypes)
        except ImportError as missing:
            raise Unsupported(f"--watch needs the events of Linux: {missing}") from missing
        return watch(paths, as_json, everything, _elections(urls))
    survey = survey_of(paths) if paths or not urls else Survey()
    if urls:
        from leaderlock.cli import fleet  # noqa: PLC0415  (only for a URL)

        fleet.add_elections(survey, urls)
    for error in survey.errors:
        print(f"leaderlock: {printable(error)}", file=sys.stderr)
    if as_json:
        print(json_text(survey, indent=1))
    else:
        draw = drawing()
        draw(survey, everything)
    return 0 if survey.is_complete else FAILED


def _elections(urls: Sequence[str]) -> Elections | None:
    if not urls:
        return None
    from leaderlock.status.elections import Elections  # noqa: PLC0415  (only for a URL)

    try:
        return Elections(urls)
    except ValueError as error:
        raise UsageError(str(error)) from None
