"""Sinks: a sink is any function that takes a report, a dict of JSON values.

A sink may have ``start(leadership)``, called when the task begins to lead, and ``stop()``, called at
the end of the term. If a sink raises, the error is logged; the other sinks still get the report.
"""

from __future__ import annotations

from leaderlock.health.sinks.fifo import fifo
from leaderlock.health.sinks.file import file
from leaderlock.health.sinks.http import healthchecks, http
from leaderlock.health.sinks.log import log
from leaderlock.health.sinks.opentelemetry import opentelemetry
from leaderlock.health.sinks.prometheus import prometheus, prometheus_collector
from leaderlock.health.sinks.statsd import statsd
from leaderlock.health.sinks.systemd import systemd

__all__ = [
    "fifo",
    "file",
    "healthchecks",
    "http",
    "log",
    "opentelemetry",
    "prometheus",
    "prometheus_collector",
    "statsd",
    "systemd",
]
