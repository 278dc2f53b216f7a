"""The layout of `leaderlock doctor`, drawn by rich: the verdict first, then what is wrong.

Verdicts are words and not signs or colours alone, so that a log or a plain terminal tells as much.
"""

from __future__ import annotations

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leaderlock.printable import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import RenderableType

    from leaderlock.diagnosis import Diagnosis
    from leaderlock.kernel import Result
    from leaderlock.kernel.judgement import Verdict

_STYLES = {"good": "green", "doubtful": "bold yellow", "broken": "bold red", "differs": "yellow"}
_SENTENCES = {
    "good": "leaderlock will work on",
    "doubtful": "leaderlock may fail on",
    "broken": "leaderlock does not work on",
}
_WIDTH = 100
"""Columns where there is no terminal, and at most where there is one."""


def draw(diagnosis: Diagnosis) -> None:
    """Print it."""
    console = Console(highlight=False, emoji=False, soft_wrap=False)
    console.width = min(console.width, _WIDTH) if console.is_terminal else _WIDTH
    console.print(screen(diagnosis))


def screen(diagnosis: Diagnosis) -> RenderableType:
    """All of it, as rich draws it. Everything goes in as `Text`: no markup is looked for in it."""
    parts: list[RenderableType] = [_headline(diagnosis), Text(), _findings(diagnosis), Text()]
    if diagnosis.experiments:
        tried = f"Tried in {printable(diagnosis.directory)}, with real processes:"
        parts += [Text(tried), _experiments(diagnosis), *_explanations(diagnosis)]
    else:
        parts.append(Text("Nothing was tried, since no file can be made there."))
    return Group(*parts)


def _headline(diagnosis: Diagnosis) -> Text:
    verdict = diagnosis.verdict
    sentence = f"  {_SENTENCES[verdict]} {printable(diagnosis.path)}"
    return Text.assemble((f" {verdict.upper()} ", f"reverse {_STYLES[verdict]}"), (sentence, "bold"))


def _findings(diagnosis: Diagnosis) -> Padding:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in diagnosis.findings:
        text = Text(printable(finding.text))
        if finding.remedy and finding.verdict != "good":
            text.append(f"\n-> {printable(finding.remedy)}", style="bold")
        grid.add_row(_word(finding.verdict), Text(finding.topic), text)
    return Padding(grid, (0, 0, 0, 2))


def _experiments(diagnosis: Diagnosis) -> Padding:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("experiment", overflow="fold")
    table.add_column("expected", overflow="fold")
    table.add_column("here", overflow="fold")
    for result in sorted(diagnosis.experiments, key=lambda result: result.passed):
        texts = (result.name, result.expectation, printable(result.outcome))
        table.add_row(_word(_verdict(result)), *map(Text, texts))
    return Padding(table, (0, 0, 0, 2))


def _explanations(diagnosis: Diagnosis) -> list[RenderableType]:
    """Of what did not pass, in full lines, unless a finding has given it already."""
    names: dict[str, list[str]] = {}
    for result in diagnosis.experiments:
        given = any(result.explanation in finding.text for finding in diagnosis.findings)
        if not result.passed and not given:
            names.setdefault(result.explanation, []).append(result.name)
    return [
        Padding(Text.assemble((f"{', '.join(of)}: ", "dim"), printable(text)), (0, 0, 0, 2))
        for text, of in names.items()
    ]


def _verdict(result: Result) -> str:
    if result.passed:
        return "good"
    return "differs" if result.consequence == "good" else result.consequence


def _word(verdict: Verdict | str) -> Text:
    return Text(verdict, style=_STYLES[verdict])
