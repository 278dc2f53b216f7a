"""A check's value in readable form: sizes in MiB, shares in per cent, lists of objects as tables."""

from __future__ import annotations

import math

from leaderlock.wording import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SIZES = ("resident", "proportional", "working_set", "capacity", "pending")
_SIZES_BESIDE = {"current": ("working_set", "oom_kills"), "limit": ("working_set", "oom_kills")}
"""Keys that are sizes only beside one of these keys: a queue has a `limit`, too."""
_SIZES_OF_DISKS = ("total", "free")
_SHARES = ("used", "inodes_used", "throttled")
_PERCENT = ("some", "full")
_TIMES = ("age", "latency", "interval", "throttled_seconds", "mean", "p50", "p95", "p99", "max")

_MOST = 30
"""The most lines of a value; the raw JSON has all."""

_LONGEST = 200
"""The most characters of a text."""


def lines_of(value: object) -> list[str]:
    """The value as lines, ``memory.current: 276 MiB``, without the lists that `tables_of` returns."""
    found = []
    for path, beside, number in _leaves(value, (), {}, 0):
        name = ".".join(path)
        text = _shown(path[-1] if path else "", beside, number)
        found.append(f"{name}: {text}" if name else text)
        if len(found) > _MOST:
            return [*found[:_MOST], "…"]
    return found


def tables_of(value: object) -> list[tuple[str, list[str], list[tuple[str, ...]]]]:
    """Each list of objects with the same keys: its name, its headings and its rows."""
    found = []
    for name, part in value.items() if isinstance(value, dict) else []:
        if _is_table(part):
            headings = list(part[0])
            rows = [tuple(_shown(key, row, row[key]) for key in headings) for row in part[:_MOST]]
            found.append((str(name), headings, rows))
    return found


def _is_table(part: object) -> bool:
    return (
        isinstance(part, list)
        and bool(part)
        and all(isinstance(row, dict) and row and list(row) == list(part[0]) for row in part)
        and len(part[0]) <= 8
    )


def _leaves(
    value: object, path: tuple[str, ...], beside: dict[str, object], depth: int
) -> Iterator[tuple[tuple[str, ...], dict[str, object], object]]:
    if isinstance(value, dict) and depth < 4:
        for key, part in value.items():
            if depth or not _is_table(part):
                yield from _leaves(part, (*path, str(key)), value, depth + 1)
    else:
        yield path, beside, value


def _shown(key: str, beside: dict[str, object], value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(key, beside, float(value)) if math.isfinite(value) else "unknown"
    if isinstance(value, list | dict):
        return f"{len(value)} entries"
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _number(key: str, beside: dict[str, object], number: float) -> str:
    of_disk = key in _SIZES_OF_DISKS and "inodes" in beside
    of_memory = any(name in beside for name in _SIZES_BESIDE.get(key, ()))
    of_pipe = key not in ("capacity", "pending") or "capacity" in beside
    if of_disk or of_memory or (key in _SIZES and of_pipe):
        return _size(number)
    if key in _SHARES and 0 <= number <= 1:
        return f"{number * 100:.1f} %"
    if key in _PERCENT:
        return f"{number:g} %"
    if key in _TIMES and number >= 0:
        return duration(number)
    return f"{number:.6g}" if number != int(number) else f"{int(number)}"


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
