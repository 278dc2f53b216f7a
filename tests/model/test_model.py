"""The model of the lock: its properties hold, and not without each step; its steps exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.model.checking import MODEL, VARIANTS, Variant, check

README = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
FUNCTIONS = re.findall(r"`(leaderlock[\w.]*):([\w.]+)`", README)


@pytest.mark.parametrize(("module", "name"), FUNCTIONS, ids=[name for _, name in FUNCTIONS])
def test_each_step_of_the_model_is_a_function(module: str, name: str) -> None:
    found: object = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)


def test_every_step_that_the_model_can_leave_out_is_checked() -> None:
    dropped = set(re.findall(r"DROP_(\w+)", MODEL.read_text(encoding="utf-8")))
    dropped.discard("")
    assert {variant.drops for variant in VARIANTS if variant.drops} == dropped - {""}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=[f"{v.prop} {v.drops} {v.words}" for v in VARIANTS])
def test_the_properties_hold_and_none_of_them_without_each_step(
    variant: Variant, tmp_path: Path
) -> None:
    assert check(variant, tmp_path).holds is (not variant.drops)
