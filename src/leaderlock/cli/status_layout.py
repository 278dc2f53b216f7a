"""How ``leaderlock status`` draws: with rich on a terminal, if it is installed, or as text."""

from __future__ import annotations

import os
import sys

from leaderlock.cli.status_text import draw_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from leaderlock.status.survey import Survey


def drawing() -> Callable[[Survey, bool], None]:
    """How to draw here: with rich on a terminal, if it is installed; as plain text otherwise."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb"):
        try:
            from leaderlock.cli.status_screen import draw  # noqa: PLC0415  (rich takes 50 ms)
        except ImportError:
            return draw_plain
        return draw
    return draw_plain
