"""``leaderlock history``: the terms of a lock as a table, as JSON, or as a drawing."""

from __future__ import annotations

import os
import sys
import time

from leaderlock.cli.command import Command
from leaderlock.cli.history_text import columns, fill, table
from leaderlock.cli.names import NAME, NOTES, chosen_one, chosen_url
from leaderlock.cli.options import HELP, Option, UsageError
from leaderlock.errors import LeaderLockError, Unsupported
from leaderlock.history.phrases import row_of
from leaderlock.history.reading import History, history_of
from leaderlock.history.summary import Summary, leaderless_since
from leaderlock.kernel.arguments import whole_number
from leaderlock.kernel.replacement import replace_file
from leaderlock.wording import json_text, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from leaderlock.cli.options import Parsed


def _number(text: str) -> int:
    number = whole_number(text, 10**9 - 1)
    if not number:
        raise ValueError("a number of terms, 1 or more, is needed")
    return number


def _picture(text: str) -> str:
    if not text.endswith((".svg", ".png")):
        raise ValueError("a file whose name ends in .svg or .png is needed")
    return text


OPTIONS = (
    HELP,
    NAME,
    Option("--last", value="N", convert=_number, help="only the last N terms"),
    Option("--json", help="one JSON document in place of text"),
    Option(
        "--plot",
        value="FILE",
        convert=_picture,
        help="draw the terms into FILE (.svg or .png)",
        completes="file",
    ),
)

COMMAND = Command(
    "history",
    "who led, for how long, and how it ended",
    operands="PATH|NAME|URL",
    completes="lock",
    text="""\
Shows the last terms of a lock, the newest last: which process led, since when and for
how long, how the term ended, and how long no process led before it. A time after "<" or
">" is only a bound: a leader that is killed cannot record when it ended.""",
    groups=(("Options", OPTIONS),),
    notes=f"A .png needs an extra: pip install 'leaderlock[plot]'.\n\n{NOTES}",
    statuses=(
        ("0", "the history is shown, or drawn"),
        ("125", "the lock file is missing or cannot be read, or FILE cannot be written"),
        ("2", "wrong usage"),
    ),
    examples=(
        ("leaderlock history --last 10 /run/app/leader.lock", "The last ten terms as a table."),
        ("leaderlock history --plot terms.svg /run/app/leader.lock", "A drawing for a report."),
        ("leaderlock history beat", "The terms of the lock that `leaderlock run --name beat` takes."),
        (
            "leaderlock history --json /run/app/leader.lock > history.json",
            "Everything in the file, for another program.",
        ),
    ),
)


def main(words: Sequence[str]) -> int:
    """Print or draw the history, and return the exit status."""
    parsed = COMMAND.parse(words)
    if parsed.get("help"):
        print(COMMAND.help(), end="")
        return 0
    history = _history(parsed)
    if last := parsed.get("last"):
        history = History(history.path, history.terms[-last:], history.damaged)
    now = time.time()
    if picture := parsed.get("plot"):
        _plot(history, picture, now)
    if parsed.get("json"):
        print(json_text(history.as_json(), indent=1))
    elif not picture:
        if hasattr(sys.stdout, "reconfigure"):  # "–" may be missing in the locale's encoding
            sys.stdout.reconfigure(errors="backslashreplace")
        _show(history, now)
    return 0


def _history(parsed: Parsed) -> History:
    if url := chosen_url(parsed):
        from leaderlock.history.fleet import history_in_engine  # noqa: PLC0415  (only for a URL)

        try:
            return history_in_engine(url)
        except ValueError as error:
            raise UsageError(str(error)) from None
    path = chosen_one(parsed)
    if path is None:
        raise UsageError("one lock is needed: the PATH of its file, its NAME, or a URL")
    return history_of(_checked(path))


def _checked(path: str) -> str:
    if not path or "\0" in path:
        raise UsageError("PATH must name a file")
    return path


def _show(history: History, now: float) -> None:
    rows = [row_of(term, now) for term in history.terms]
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        try:
            _show_with_rich(history, rows, now)
            return
        except ImportError:
            pass
    print(printable(history.path))
    width = columns()
    if rows:
        print(*table(rows, width), sep="\n")
    print(*(fill(line, width) for line in _below(history, now)), sep="\n")


def _below(history: History, now: float) -> list[str]:
    """The lines under the table."""
    lines = [f"{Summary(history, now).as_text()}." if history.terms else "No terms are known."]
    if since := leaderless_since(history, now):
        lines.append(f"Nobody leads now, for {since} already.")
    if history.damaged:
        what = "1 entry is" if history.damaged == 1 else f"{history.damaged} entries are"
        lines.append(f"{what} damaged and left out: another program has written to the file.")
    return lines


def _show_with_rich(history: History, rows: list[tuple[str, ...]], now: float) -> None:
    from rich.console import Console  # noqa: PLC0415  (an extra, and 50 ms)
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, emoji=False)
    width = columns()
    orderly = ("resigned", "released", "exited", "leads")
    console.print(Text(printable(history.path)), soft_wrap=True)
    for line in table(rows, width) if rows else []:
        text = Text(line)
        text.highlight_regex(r"\bleads$|\bleads(?= )", "bold green")
        text.highlight_words([ended for *_, ended, _ in rows if ended not in orderly], "yellow")
        console.print(text, soft_wrap=True)
    for line in _below(history, now):
        console.print(Text(fill(line, width)), soft_wrap=True)


def _plot(history: History, picture: str, now: float) -> None:
    from leaderlock.history import drawing as timeline  # noqa: PLC0415  (only --plot needs it)

    if picture.endswith(".svg"):
        content = timeline.draw_for_any_screen(history, now=now).encode()
    else:
        content = _png(timeline.draw(history, now=now))
    try:
        umask = os.umask(0)
        os.umask(umask)
        replace_file(os.path.abspath(picture), content, 0o666 & ~umask)
    except OSError as error:  # the directory is missing, not writable, or full
        raise LeaderLockError(f"cannot write {picture}: {error.strerror}") from error


def _png(svg: str) -> bytes:
    try:
        from resvg_py import svg_to_bytes  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise Unsupported(
            "--plot to a .png needs resvg: run `pip install 'leaderlock[plot]'`"
        ) from error
    from leaderlock.history.drawing import FONTS  # noqa: PLC0415

    # resvg silently omits text without a matching font, and does not ask fontconfig.
    test = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">{}</svg>'
    written = test.format(f'<text x="2" y="15" font-family="{FONTS}">leads</text>')
    if svg_to_bytes(svg_string=written) == svg_to_bytes(svg_string=test.format("")):
        raise Unsupported(
            "--plot to a .png needs a common sans-serif font, and none is installed: install one "
            "(Debian: fonts-dejavu-core), or draw an .svg"
        )
    return svg_to_bytes(svg_string=svg, zoom=2)
