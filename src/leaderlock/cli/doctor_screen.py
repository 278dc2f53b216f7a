"""The layout of `leaderlock doctor`, drawn by rich: the verdict first, then the problems.

Verdicts are words, not only signs or colours, so that a log or a plain terminal shows them too.
"""

from __future__ import annotations

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from leaderlock.cli.doctor_text import WIDTH, explanations, sentence, verdict_of, what_was_tried
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import RenderableType

    from leaderlock.diagnosis import Diagnosis
    from leaderlock.kernel.filesystems.judgement import Verdict

_STYLES = {"good": "green", "doubtful": "bold yellow", "broken": "bold red", "differs": "yellow"}


def draw(diagnosis: Diagnosis) -> None:
    """Print the diagnosis."""
    console = Console(highlight=False, emoji=False, soft_wrap=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print(screen(diagnosis))


def screen(diagnosis: Diagnosis) -> RenderableType:
    """The whole diagnosis, for rich. All texts are `Text` objects: rich looks for no markup in them."""
    parts: list[RenderableType] = [_headline(diagnosis), Text(), _findings(diagnosis), Text()]
    parts.append(Text(what_was_tried(diagnosis)))
    if diagnosis.experiments:
        parts.append(_experiments(diagnosis))
        parts += [
            Padding(Text.assemble((f"{names}: ", "dim"), text), (0, 0, 0, 2))
            for names, text in explanations(diagnosis)
        ]
    return Group(*parts)


def _headline(diagnosis: Diagnosis) -> Text:
    verdict = diagnosis.verdict
    label = (f" {verdict.upper()} ", f"reverse {_STYLES[verdict]}")
    return Text.assemble(label, (f"  {sentence(diagnosis)}", "bold"))


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
        table.add_row(_word(verdict_of(result)), *map(Text, texts))
    return Padding(table, (0, 0, 0, 2))


def _word(verdict: Verdict | str) -> Text:
    return Text(verdict, style=_STYLES[verdict])
