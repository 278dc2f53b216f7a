"""The keeper of a leading process: its lock is released before its memory is freed.

leaderlock uses this by itself where it is installed. `start` makes the keeper, `pid` and `stop` look at
it and end it, and `forget` is for a forked child. Linux on x86-64 and aarch64.
"""

from leaderlock_native._keeper import forget, pid, start, stop

__all__ = ["forget", "pid", "start", "stop"]
