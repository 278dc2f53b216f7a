"""Where reports go: a sink is any function that takes the report, a dict that JSON can hold.

One that raises is logged; the others still get the report.
"""

from __future__ import annotations

from leaderlock.health.sinks.file import file
from leaderlock.health.sinks.log import log

__all__ = ["file", "log"]
