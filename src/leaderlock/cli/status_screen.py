"""The layout of `leaderlock status` on a terminal, drawn by rich."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from leaderlock.status.text import command, lines_about, lines_of_election, shown_of
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rich.console import RenderableType

    from leaderlock.status import LockStatus
    from leaderlock.status.fleet import ElectionStatus
    from leaderlock.status.survey import Survey


def draw(survey: Survey, everything: bool) -> None:
    """Print the elections and the locks."""
    Console(highlight=False, emoji=False).print(screen(survey, everything))


def screen(survey: Survey, everything: bool) -> RenderableType:
    """The elections and the locks, as rich draws them.

    All texts are `Text` objects, which rich takes unchanged: it looks for no markup in them.
    """
    parts: list[RenderableType] = [_election(each, survey.time) for each in survey.elections]
    parts += [_panel(lock, everything, survey.time) for lock in survey.locks]
    parts += [Text(printable(error), style="red") for error in survey.errors]
    if not parts:
        parts.append(Text("There are no leaderlock locks on this machine that can be seen from here."))
    if survey.hidden is not None:
        parts.append(Text(f"hidden: {printable(survey.hidden)}", style="dim"))
    return Group(*parts)


def _election(status: ElectionStatus, now: float) -> Panel:
    first, *rest = lines_of_election(status, now)
    leads = status.leader is not None
    return Panel(
        Group(Text(first, style="bold green" if leads else ""), *map(Text, rest)),
        title=Text(printable(status.address)),
        title_align="left",
        border_style="green" if leads else "dim",
    )


def _panel(lock: LockStatus, everything: bool, now: float) -> Panel:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    for label, text in lines_about(lock, now):
        leads = label == "leader" and lock.holder is not None and not lock.holder.kept_by
        grid.add_row(label, Text(text, style="bold green" if leads else ""))
    grid.add_row("waiting", str(len(lock.waiting)))
    if not lock.waiting and (lock.warnings or lock.hidden is not None):
        grid.add_row("", "")
    parts: list[RenderableType] = [grid]
    if lock.waiting:
        parts.append(_queue(lock, everything))
    for warning in lock.warnings:
        code = (f"! {warning.code}: ", "bold yellow")
        parts.append(Text.assemble(code, (printable(warning.text), "yellow")))
    if lock.hidden is not None:
        parts.append(Text(f"hidden: {printable(lock.hidden)}", style="dim"))
    style = "yellow" if lock.warnings else "green" if lock.holder else "dim"
    return Panel(
        Group(*parts), title=Text(printable(lock.path)), title_align="left", border_style=style
    )


def _queue(lock: LockStatus, everything: bool) -> Table:
    shown, more = shown_of(lock, everything)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=True, header_style="dim")
    table.add_column("next", justify="right")
    table.add_column("pid", justify="right")
    table.add_column("user", no_wrap=True)
    in_containers = any(process.container for process in shown)
    if in_containers:
        table.add_column("container", no_wrap=True)
    table.add_column("command", ratio=1, no_wrap=True, overflow="ellipsis")
    for place, process in enumerate(shown, 1):
        row = [str(place), str(process.pid), printable(process.user or "?")]
        row += [printable(process.container or "")] if in_containers else []
        table.add_row(*map(Text, [*row, command(process)]))
    if more:
        blank = [""] * (3 if in_containers else 2)
        table.add_row("…", *blank, Text(f"and {more} more (--all shows them)", style="dim"))
    return table
