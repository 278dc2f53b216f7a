"""``leaderlock status --watch``: shows each change, as a block, as a line, or on the screen."""

from __future__ import annotations

import signal
import sys
import time

from leaderlock.cli.status_layout import drawing
from leaderlock.cli.status_text import draw_plain, json_text, plain_text
from leaderlock.status.watcher import Watcher
from leaderlock.wording import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from leaderlock.status import LockStatus, ProcessStatus
    from leaderlock.status.elections import Elections
    from leaderlock.status.survey import Survey


def watch(
    paths: Sequence[str], as_json: bool, everything: bool, elections: Elections | None = None
) -> int:
    """Show locks and elections, and each change, until Ctrl-C or SIGTERM; return the exit status."""
    watcher = Watcher(paths, elections)
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, watcher.end)
        if not as_json and drawing() is not draw_plain:
            _on_screen(watcher, everything)
        else:
            _as_lines(watcher, as_json, everything)
    except KeyboardInterrupt:
        pass
    finally:
        watcher.close()
        if elections is not None:
            elections.end()
    return 0


def _changes(watcher: Watcher) -> Iterator[Survey]:
    """Yield each survey that differs from the previous one."""
    before: object = None
    while True:
        survey = watcher.look()
        now = (
            [_essence(lock) for lock in survey.locks],
            [election._replace(ends=None) for election in survey.elections],
            survey.errors,
            survey.hidden,
        )
        if now != before:
            before = now
            yield survey
        watcher.wait()


def _essence(lock: LockStatus) -> LockStatus:
    """The status without parts that change often: beats, and whether a process runs or sleeps."""
    holder = lock.holder and lock.holder._replace(
        last_beat=None, state=_calm(lock.holder.state), kept_by=list(map(_calmed, lock.holder.kept_by))
    )
    waiting = list(map(_calmed, lock.waiting))
    warnings = [warning._replace(text="") for warning in lock.warnings]
    return lock._replace(holder=holder, waiting=waiting, warnings=warnings)


def _calmed(process: ProcessStatus) -> ProcessStatus:
    return process._replace(state=_calm(process.state))


def _calm(state: str | None) -> str | None:
    return "S" if state == "R" else state


def _as_lines(watcher: Watcher, as_json: bool, everything: bool) -> None:
    told: list[str] = []
    for survey in _changes(watcher):
        for error in survey.errors:
            if error not in told:
                print(f"leaderlock: {printable(error)}", file=sys.stderr, flush=True)
        told = survey.errors
        if as_json:
            print(json_text(survey, indent=None), flush=True)
        else:
            date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(survey.time))
            print(f"--- {date}\n{plain_text(survey, everything)}", flush=True)


def _on_screen(watcher: Watcher, everything: bool) -> None:
    from rich.console import Console  # noqa: PLC0415  (only a terminal needs it)
    from rich.live import Live  # noqa: PLC0415

    from leaderlock.cli.status_screen import screen  # noqa: PLC0415

    console = Console(highlight=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(watcher.look(), everything), refresh=True)
            watcher.wait()
