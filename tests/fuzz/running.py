"""Runs a parser's target with so much hostile input."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypothesis import Phase, given, seed, settings

from tests.fuzz.targets import Target

SEED = "FUZZ_SEED"
"""The variable with the seed that repeats a run."""


def new_seed() -> int:
    """The seed of this run, which a failing test shows."""
    number = int(os.environ.get(SEED) or int.from_bytes(os.urandom(4), "big"))
    print(f"{SEED}={number} repeats this run")
    return number


@contextmanager
def without_logs() -> Iterator[None]:
    """The logs of what is refused would be longer than anybody reads."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def attack(target: Target, examples: int, number: int | None = None) -> int:
    """Give a target so many inputs; return how many were given.

    Args:
        target: what to attack.
        examples: the most inputs; a failing one is made smaller, with more of them.
        number: the seed; None takes the same inputs each time.

    Raises:
        Exception: of a check, for the smallest input found.
    """
    count = 0

    def check(value: object) -> None:
        nonlocal count
        count += 1
        target.check(value)

    run: Callable[[], None] = settings(
        max_examples=examples,
        derandomize=number is None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )((seed(number) if number is not None else _as_it_is)(given(target.given)(check)))
    with without_logs():
        run()
    return count


def _as_it_is(test: Callable[[], None]) -> Callable[[], None]:
    return test
