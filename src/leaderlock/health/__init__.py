"""The leader's job that everybody needs: to report the health of the server it belongs to."""

from __future__ import annotations

from leaderlock.health import checks, sinks
from leaderlock.health.checks.check import CheckResult
from leaderlock.health.reporter import HealthReporter

__all__ = ["CheckResult", "HealthReporter", "checks", "sinks"]
