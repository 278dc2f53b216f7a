"""The last terms of a lock: read from the lock file, summed up, put in words, and drawn."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.history.reading import History, Term, history_of

__all__ = ["History", "Term", "history_of"]

__getattr__, __dir__ = face(
    __name__, {"History": "reading", "Term": "reading", "history_of": "reading"}
)
