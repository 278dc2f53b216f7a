"""The inbox: messages to the leader through a FIFO, and lines from other programs' FIFOs."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.inbox.inbox import Inbox
    from leaderlock.inbox.lines import PersistentReader

__all__ = ["Inbox", "PersistentReader"]

__getattr__, __dir__ = face(__name__, {"Inbox": "inbox", "PersistentReader": "lines"})
