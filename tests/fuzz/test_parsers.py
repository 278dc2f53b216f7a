"""Everything that parses, under hostile input: the same in each run, and more of it in slow ones."""

from __future__ import annotations

import pytest

from tests.fuzz.running import attack, new_seed
from tests.fuzz.targets import TARGETS, Target

EVERY = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])


@EVERY
def test_hostile_input_gets_an_answer_or_a_documented_error(target: Target) -> None:
    assert attack(target, 12) > 0


@pytest.mark.slow
@EVERY
def test_much_hostile_input_gets_an_answer_or_a_documented_error(target: Target) -> None:
    assert attack(target, 150, new_seed()) > 0
