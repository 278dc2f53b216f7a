"""``leaderlock doctor``: finds out whether leaderlock works here, and the reason if not."""

from __future__ import annotations

from dataclasses import asdict

from leaderlock.cli.command import Command
from leaderlock.cli.doctor_text import WIDTH, as_text
from leaderlock.cli.history_text import columns
from leaderlock.cli.names import NAME, NOTES, UnknownName, chosen_one, chosen_url
from leaderlock.cli.options import HELP, Option, UsageError
from leaderlock.cli.variables import on_variables
from leaderlock.diagnosis import Diagnosis, diagnose
from leaderlock.wording import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

VERSION = 1
"""The version of the JSON document."""

STATUS = {"good": 0, "doubtful": 1, "broken": 2}

OPTIONS = (
    HELP,
    NAME,
    Option("--json", help="one JSON document in place of text (its form: doctor.schema.json)"),
)

COMMAND = Command(
    "doctor",
    "will it work here?",
    operands="[PATH|NAME|URL]",
    completes="file",
    text="""\
Says whether leaderlock will work on PATH: a lock file, which need not exist, or a
directory. It tests flock there with real processes, and leaves nothing behind. Without
PATH it examines the directory of named locks. For the URL of a fleet's election, it says
whether the engine answers, and what the engine can promise.""",
    groups=(("Options", OPTIONS),),
    notes=NOTES,
    statuses=(
        ("0", "good"),
        ("1", "doubtful: read the findings"),
        ("2", "broken, or wrong usage"),
    ),
    examples=(
        ("leaderlock doctor", "The directory of named locks."),
        ("leaderlock doctor /mnt/shared", "Does a lock work on this network file system?"),
        (
            "leaderlock doctor --json /run/app | jq -r .verdict",
            "One word, for a script that sets a machine up.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Print the diagnosis, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    if url := chosen_url(parsed):
        return _on_engine(url, bool(parsed.get("json")))
    try:
        path = chosen_one(parsed)
    except UnknownName:  # not used yet: examine the directory that it will be in
        path = None
    try:
        diagnosis = diagnose(path, on_variables())
    except ValueError as error:
        raise UsageError(str(error)) from None
    if parsed.get("json"):
        print(json_text(document(diagnosis), indent=1))
    else:
        _draw(diagnosis)
    return STATUS[diagnosis.verdict]


def _on_engine(url: str, as_json: bool) -> int:
    from leaderlock.cli import fleet  # noqa: PLC0415  (only for a URL)

    try:
        found, status = fleet.diagnosis(url)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if as_json:
        print(json_text(found, indent=1))
    else:
        print(*fleet.diagnosis_as_text(found, min(columns() or WIDTH, WIDTH)), sep="\n")
    return status


def document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The JSON document."""
    return {"version": VERSION, "verdict": diagnosis.verdict, **asdict(diagnosis)}


def _draw(diagnosis: Diagnosis) -> None:
    try:
        from leaderlock.cli.doctor_screen import draw  # noqa: PLC0415  (rich takes 50 ms)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "rich":
            raise
    else:
        draw(diagnosis)
        return
    width = min(columns() or WIDTH, WIDTH)
    print(as_text(diagnosis, width), end="")
