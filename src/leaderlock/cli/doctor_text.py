"""The lines of `leaderlock doctor`, and its plain layout, which needs no rich."""

from __future__ import annotations

import textwrap

from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.diagnosis import Diagnosis
    from leaderlock.kernel import Result

_SENTENCES = {
    "good": "leaderlock will work on",
    "doubtful": "leaderlock may fail on",
    "broken": "leaderlock does not work on",
}
WIDTH = 100
"""The width without a terminal, and the greatest width on a terminal, in columns."""


def sentence(diagnosis: Diagnosis) -> str:
    """The verdict in words."""
    return f"{_SENTENCES[diagnosis.verdict]} {printable(diagnosis.path)}"


def what_was_tried(diagnosis: Diagnosis) -> str:
    """The line above the experiments."""
    if not diagnosis.experiments:
        return "Nothing was tried, since no file can be made there."
    return f"Tried in {printable(diagnosis.directory)}, with real processes:"


def verdict_of(result: Result) -> str:
    """One word for an experiment."""
    if result.passed:
        return "good"
    return "differs" if result.consequence == "good" else result.consequence


def explanations(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Experiments that did not pass: their names and a text, unless a finding has the text already."""
    names: dict[str, list[str]] = {}
    for result in diagnosis.experiments:
        given = any(result.explanation in finding.text for finding in diagnosis.findings)
        if not result.passed and not given:
            names.setdefault(result.explanation, []).append(result.name)
    return [(", ".join(of), printable(text)) for text, of in names.items()]


def as_text(diagnosis: Diagnosis, width: int) -> str:
    """The plain layout."""
    lines = [f"{diagnosis.verdict.upper()}: {sentence(diagnosis)}", ""]
    for finding in diagnosis.findings:
        text = f"{finding.verdict:<8}  {finding.topic}: {printable(finding.text)}"
        lines += _filled(text, width)
        if finding.remedy and finding.verdict != "good":
            lines += _filled(f"{'':<8}  -> {printable(finding.remedy)}", width)
    lines += ["", what_was_tried(diagnosis)]
    for result in sorted(diagnosis.experiments, key=lambda result: result.passed):
        text = f"{verdict_of(result):<8}  {result.name}: {printable(result.outcome)}"
        expected = "" if result.passed else f" (expected: {result.expectation})"
        lines += _filled(text + expected, width)
    for names, text in explanations(diagnosis):
        lines += _filled(f"{names}: {text}", width)
    return "\n".join(lines) + "\n"


def _filled(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(width - 2, 40),
        initial_indent="  ",
        subsequent_indent=" " * 12,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    )
