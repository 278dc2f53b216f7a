"""Writes the measured figures into docs/comparison.md; `make bench` ends with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "results.json"
PAGE = ROOT / "docs" / "comparison.md"

# For each table in the page: its rows, by what they are called in the results, and its columns.
TABLES: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, str]]] = {
    "locks": (
        {
            "leaderlock": ("leaderlock",),
            "a bare `fcntl.flock`": ("raw fcntl.flock", "raw open+flock+fstat+stat+close"),
            "filelock": ("filelock",),
            "portalocker": ("portalocker",),
            "fasteners": ("fasteners",),
        },
        {
            "failover-4": "next one runs after SIGKILL, 4 standbys",
            "failover-64": "64 standbys",
            "wakeups": "wakeups of a standby in 10 s",
            "cycle": "one uncontended cycle",
        },
    ),
    "supervisors": (
        {name: (name,) for name in ("leaderlock run", "leaderlock init", "tini", "dumb-init")},
        {
            "supervised-start": "start to exit of `true`",
            "supervised-memory": "resident",
            "supervised-signals": "a signal's way",
            "supervised-orphans": "10,000 orphans reaped",
        },
    ),
}


def markdown(table: str, results: dict[str, Any]) -> str:
    """A table of medians, as the page has it."""
    figures = {figure["name"]: figure for figure in results["figures"]}
    rows, columns = TABLES[table]
    lines = [f"| | {' | '.join(columns.values())} |", "| --- " * (len(columns) + 1) + "|"]
    for row, names in rows.items():
        cells = [_median(figures[figure], names) for figure in columns]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _median(figure: dict[str, Any], names: tuple[str, ...]) -> str:
    samples = next(figure["samples"][name] for name in names if name in figure["samples"])
    return f"{median(samples):.3g} {figure['unit'] if figure['unit'] != 'wakeups' else ''}".strip()


def measured(results: dict[str, Any]) -> str:
    """When, and by which versions."""
    machine = results["machine"]
    versions = [f"{name} {machine[name]}" for name in ("filelock", "portalocker", "fasteners")]
    return (
        f"Medians of one run of `make bench` on {machine['date']}: {machine['system']},\n"
        f"{machine['python']}, {', '.join(versions)}."
    )


def filled(page: str, results: dict[str, Any]) -> str:
    """The page, with what was measured between its marks."""
    parts = {"measured": measured(results), **{table: markdown(table, results) for table in TABLES}}
    for name, text in parts.items():
        page, count = re.subn(
            rf"(?s)(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>{text}\n\g<2>", page
        )
        assert count == 1, f"{PAGE} has no place for {name}"
    return page


if __name__ == "__main__":
    document = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")
