"""The numbers in a report, each with a name, for systems that take only numbers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

STATUS = {"ok": 0, "degraded": 1, "failing": 2}
"""A status as a number: the greatest is the worst."""


def flatten(value: object, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield each number in a check's value, with the keys that lead to it; a list index is a key, too.

    True is 1 and False is 0. Text and null are left out.
    """
    if isinstance(value, bool | int | float):
        yield name, int(value) if isinstance(value, bool) else value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, (*name, str(key)))
    elif isinstance(value, list | tuple):
        for place, inner in enumerate(value):
            yield from flatten(inner, (*name, str(place)))


def failing_critical_checks(report: Mapping[str, Any]) -> list[str]:
    """The names of the critical checks that fail."""
    return [
        name
        for name, check in report["checks"].items()
        if check["critical"] and check["status"] == "failing"
    ]
