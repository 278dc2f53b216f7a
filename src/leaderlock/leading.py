"""`every` by its first name; `Leadership.every` is for coroutines too."""

from __future__ import annotations

from leaderlock.election.aio.block import every

__all__ = ["every"]
