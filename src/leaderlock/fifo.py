"""`PersistentReader` by its first name; the room is ``leaderlock.inbox``."""

from __future__ import annotations

from leaderlock.inbox.lines import PersistentReader

__all__ = ["PersistentReader"]
