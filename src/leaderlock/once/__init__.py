"""A function that one process runs: for as long as it leads, or to completion."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.once.completed import call_once
    from leaderlock.once.elected import only_once

__all__ = ["call_once", "only_once"]

__getattr__, __dir__ = face(__name__, {"call_once": "completed", "only_once": "elected"})
