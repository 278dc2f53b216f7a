"""Chooses the layout of ``leaderlock status``: rich on a terminal, if installed, or plain text."""

from __future__ import annotations

import os
import sys

from leaderlock.cli.status_text import draw_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.status.survey import Survey


def drawing() -> Callable[[Survey, bool], None]:
    """The function that draws here: with rich on a terminal, if installed; otherwise as plain text."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        try:
            from leaderlock.cli.status_screen import draw  # noqa: PLC0415  (rich takes 50 ms)
        except ImportError:
            return draw_plain
        return draw
    return draw_plain
