"""The results as Markdown and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.figure import Figure
from benchmarks.targets import TARGETS

PACKAGES = ["leaderlock", "filelock", "portalocker", "fasteners", "gunicorn"]


def machine() -> dict[str, str]:
    """What ran, and what it ran on; no names of hosts or places."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} CPUs",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        **{package: version(package) for package in PACKAGES},
    }


def write(figures: list[Figure], load: float, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "README.md").write_text(markdown(figures, load), encoding="utf-8")
    document = {
        "machine": machine(),
        "load before the run": load,
        "targets": list(_targets(figures)),
        "figures": [
            {
                "name": figure.name,
                "title": figure.title,
                "unit": figure.unit,
                "note": figure.note,
                "samples": {
                    name: [round(sample, 4) for sample in samples]
                    for name, samples in figure.rows.items()
                },
            }
            for figure in figures
        ],
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (directory / "results.json").write_text(text + "\n", encoding="utf-8")


def updated(figures: list[Figure], directory: Path) -> list[Figure]:
    """Those of the results, in which these take the place of earlier ones."""
    document = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    earlier = [
        Figure(old["name"], old["title"], old["unit"], old["note"], old["samples"])
        for old in document["figures"]
    ]
    new = {figure.name: figure for figure in figures}
    kept = [new.pop(figure.name, figure) for figure in earlier]
    return [*kept, *new.values()]


def markdown(figures: list[Figure], load: float) -> str:
    about = ", ".join(f"{name} {value}" for name, value in list(machine().items())[3:])
    what = machine()
    lines = [
        "# Results",
        "",
        f"Measured on {what['date']} by `make bench`, side by side in one run: {what['system']}, "
        f"{what['python']}, {about}. The ratios are what counts: milliseconds are the machine's.",
        *_warning(load),
        "",
        "## What was promised",
        "",
        *_table(
            ["", "measured", "95 % interval", "wanted", "met"],
            (
                [t["text"], f"{t['value']:.3g} {t['unit']}", t["interval"], t["wanted"], t["met"]]
                for t in _targets(figures)
            ),
        ),
        "",
        "![failover](failover.png)",
        "![costs](costs.png)",
        "",
    ]
    for figure in figures:
        lines += [f"## {figure.title[0].upper()}{figure.title[1:]}", "", f"{figure.note}.", ""]
        lines += _table(
            ["", f"median, {figure.unit}", "best", "90th of 100", "worst", "samples"],
            ([name, *_numbers(samples)] for name, samples in figure.rows.items()),
        )
        lines.append("")
    return "\n".join(lines)


def _warning(load: float) -> Iterator[str]:
    if load > (os.cpu_count() or 1) / 4:
        yield ""
        yield f"The machine was busy with other things (load {load:.1f} before the run): measure again."


def _targets(figures: list[Figure]) -> Iterator[dict[str, object]]:
    named = {figure.name: figure for figure in figures}
    for target in TARGETS:
        if target.needs in named:
            value = target.value(named[target.needs])
            yield {
                "text": target.text,
                "value": round(value.value, 4),
                "interval": f"{value.low:.3g} – {value.high:.3g}",
                "unit": target.unit,
                "wanted": target.wanted,
                "met": "yes" if target.is_met(value) else "**no**",
            }


def _numbers(samples: list[float]) -> Iterator[str]:
    ordered = sorted(samples)
    ninetieth = ordered[max(math.ceil(0.9 * len(ordered)) - 1, 0)]
    for value in (median(ordered), ordered[0], ninetieth, ordered[-1]):
        yield f"{value:.3g}"
    yield str(len(ordered))


def _table(head: list[str], rows: Iterable[list[object]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).strip() for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *(line(row) for row in rows)]
