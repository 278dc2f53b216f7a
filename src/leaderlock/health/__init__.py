"""A ready-made task for the leader: it reports the health of its server."""

from __future__ import annotations

from leaderlock.lazy import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from leaderlock.health import checks, sinks
    from leaderlock.health.checks.check import CheckResult
    from leaderlock.health.reporter import HealthReporter

__all__ = ["CheckResult", "HealthReporter", "checks", "sinks"]

# `probe` runs every few seconds and needs none of these modules.
_MODULE_OF = {
    "CheckResult": "checks.check",
    "HealthReporter": "reporter",
    "checks": "checks",
    "sinks": "sinks",
}
__getattr__, __dir__ = face(__name__, _MODULE_OF)
