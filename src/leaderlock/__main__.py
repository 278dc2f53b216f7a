"""``python -m leaderlock``, the same as ``leaderlock``."""

from __future__ import annotations

from leaderlock.cli import entry

entry()
