"""The plain layout of `leaderlock status`, and its JSON."""

from __future__ import annotations

from leaderlock.status.text import lines_about, lines_of_election, process_line, shown_of
from leaderlock.wording import json_text as as_json_text
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.status import LockStatus
    from leaderlock.status.survey import Survey


def as_text(lock: LockStatus, everything: bool, now: float) -> str:
    """The plain layout: one block of lines for each lock."""
    shown, more = shown_of(lock, everything)
    lines = [printable(lock.path)]
    lines += [f"  {label:<8} {text}" for label, text in lines_about(lock, now)]
    lines.append(f"  waiting  {len(lock.waiting)}" + (", next first:" if len(lock.waiting) > 1 else ""))
    lines += [f"           {process_line(process)}" for process in shown]
    if more:
        lines.append(f"           … and {more} more (--all shows them)")
    lines += [f"  warning  {warning.code}: {printable(warning.text)}" for warning in lock.warnings]
    if lock.hidden is not None:
        lines.append(f"  hidden   {printable(lock.hidden)}")
    return "\n".join(lines)


def draw_plain(survey: Survey, everything: bool) -> None:
    """Print the plain layout."""
    print(plain_text(survey, everything), end="")


def plain_text(survey: Survey, everything: bool) -> str:
    """A block for each election and each lock, with a blank line between blocks."""
    blocks = [
        "\n  ".join([printable(election.address), *lines_of_election(election, survey.time)])
        for election in survey.elections
    ]
    blocks += [as_text(lock, everything, survey.time) for lock in survey.locks]
    if not blocks and not survey.errors:
        blocks = ["There are no leaderlock locks on this machine that can be seen from here."]
    text = "\n\n".join(blocks) + "\n" if blocks else ""
    if survey.hidden is not None:
        text += f"\nhidden: {printable(survey.hidden)}\n"
    return text


def json_text(survey: Survey, indent: int | None) -> str:
    """The JSON document as text."""
    return as_json_text(survey.as_json(), indent)
