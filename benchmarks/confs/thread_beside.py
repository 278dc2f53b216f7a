"""The bare thread, in an arbiter that has imported the hook: for the comparison of memory."""

from __future__ import annotations

from benchmarks.confs.none import unused
from benchmarks.confs.thread import post_fork

__all__ = ["post_fork", "unused"]
