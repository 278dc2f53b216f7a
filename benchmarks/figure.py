"""`Figure`: what was measured, as samples for each contender."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Interval:
    """A value computed from two medians, with the bounds of 95 % of its resamples (bootstrap)."""

    value: float
    low: float
    high: float


@dataclass
class Figure:
    """The samples of one measurement; `rows` keeps the order of the contenders."""

    name: str
    title: str
    unit: str
    note: str
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, contender: str, *samples: float) -> None:
        self.rows.setdefault(contender, []).extend(samples)

    def median(self, contender: str) -> float:
        return median(self.rows[contender])

    def ratio(self, contender: str, base: str) -> Interval:
        return self._compare(contender, base, lambda a, b: a / b)

    def ratio_of_pairs(self, contender: str, base: str) -> Interval:
        """The median ratio of samples that were taken at the same time, one of each."""
        ratios = [a / b for a, b in zip(self.rows[contender], self.rows[base], strict=True)]
        return _interval([ratios], lambda ratio: ratio)

    def interval(self, contender: str) -> Interval:
        return self._compare(contender, contender, lambda a, _: a)

    def _compare(self, contender: str, base: str, combine: Callable[[float, float], float]) -> Interval:
        return _interval([self.rows[contender], self.rows[base]], combine)


def _interval(rows: list[list[float]], combine: Callable[..., float]) -> Interval:
    """What is made of the medians of some rows."""
    chance = random.Random(1)
    resamples = sorted(
        combine(*(median(chance.choices(row, k=len(row))) for row in rows)) for _ in range(1000)
    )
    return Interval(combine(*map(median, rows)), resamples[25], resamples[974])
