"""The old import path of `PersistentReader`; the new one is ``leaderlock.inbox``."""

from __future__ import annotations

from leaderlock.inbox.lines import PersistentReader

__all__ = ["PersistentReader"]
