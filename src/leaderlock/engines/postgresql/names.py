"""What an election is called in the server: its row, its two advisory locks, its channel."""

from __future__ import annotations

import hashlib


class Names:
    """The names of one election within a database.

    Attributes:
        row: the election's own name, and the key of its rows.
        queue: the key of the advisory lock of the next leader; the other candidates wait for it.
        seat: the key of the leader's advisory lock.
        channel: a leader that resigns sends a notification there.
    """

    def __init__(self, name: str) -> None:
        self.row = name
        self.queue = lock_key("queue", name)
        self.seat = lock_key("seat", name)
        self.channel = f"leaderlock_{self.seat & (2**64 - 1):016x}"


def lock_key(purpose: str, name: str) -> int:
    """The key of an advisory lock: 64 bits with a sign, unlike the small numbers that people choose."""
    digest = hashlib.sha256(f"leaderlock/{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
