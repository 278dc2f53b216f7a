"""A reporter that leads for the time of a block, and the reports that it makes meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import leaderlock.health
from leaderlock import Candidate, Election
from leaderlock.health import HealthReporter
from tests.processes import PATIENCE, until

SCHEMA = json.loads(
    Path(leaderlock.health.__file__).with_name("report.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)

Report = Mapping[str, Any]


class Reports(list[Report]):
    """A sink that keeps what it gets."""

    def __call__(self, report: Report) -> None:
        VALIDATOR.validate(report)
        json.dumps(report, allow_nan=False)
        self.append(report)

    def wait(self, condition: Callable[[Report], object], what: str = "a report") -> Report:
        """The first report that meets a condition, of those that have come and will come."""
        found: list[Report] = []

        def look() -> bool:
            found.extend(report for report in list(self) if condition(report))
            return bool(found)

        until(look, what)
        return found[0]

    def next(self) -> Report:
        """One that was made after this call."""
        newest = self[-1]["reporter"]["tick"] if self else -1
        return self.wait(lambda report: report["reporter"]["tick"] > newest)


@contextlib.contextmanager
def leading(path: Path, reporter: HealthReporter) -> Iterator[tuple[Reports, Candidate]]:
    """Let it lead; the reports that it makes, and its candidate."""
    reports = Reports()
    reporter.sinks.append(reports)
    candidate = Election(path).start(reporter)
    try:
        yield reports, candidate
    finally:
        assert candidate.stop(PATIENCE)
        reporter.sinks.remove(reports)


def entry_of(path: Path, *checks: Callable[[], object], name: str = "") -> Mapping[str, Any]:
    """What a report says of a check, and of the first one if there are more."""
    reporter = HealthReporter(5, checks=checks, sinks=[])
    with leading(path, reporter) as (reports, _):
        entries: Mapping[str, Mapping[str, Any]] = reports.next()["checks"]
    return entries[name] if name else next(iter(entries.values()))
