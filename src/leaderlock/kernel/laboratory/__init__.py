"""Experiments with real processes: how flock behaves in a directory."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.kernel.laboratory.laboratory import Result, experiments

__all__ = ["Result", "experiments"]

__getattr__, __dir__ = face(__name__, {"Result": "laboratory", "experiments": "laboratory"})
