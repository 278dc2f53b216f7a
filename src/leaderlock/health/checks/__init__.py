"""What is looked at: a check is any function without arguments whose value JSON can hold.

Its name in the report is its ``__name__``. One that raises is reported as failing, with the error.
"""

from __future__ import annotations

from leaderlock.health.checks.processes import workers

__all__ = ["workers"]
