"""The old import path of `every`; `Leadership.every` also serves coroutines."""

from __future__ import annotations

from leaderlock.election.aio.block import every

__all__ = ["every"]
