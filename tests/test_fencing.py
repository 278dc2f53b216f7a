"""docs/explanation/fencing.md: what it gives to be copied refuses a write that comes late."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from leaderlock import LeaderLock
from tests.blocks import ROOT, blocks_of
from tests.processes import holder

SCHEMA = "CREATE TABLE report (value INTEGER, term INTEGER)"


@pytest.fixture
def copied() -> dict[str, Any]:
    """The names that the page's block defines."""
    [block] = blocks_of(ROOT / "docs" / "explanation" / "fencing.md")
    names: dict[str, Any] = {}
    exec(compile(block.content, str(block), "exec"), names)
    return names


def test_a_write_that_comes_late_is_refused(path: Path, tmp_path: Path, copied: dict[str, Any]) -> None:
    store = sqlite3.connect(tmp_path / "store")
    store.execute(SCHEMA)
    store.execute("INSERT INTO report VALUES (0, 0)")
    with holder(path) as first:
        late = first.tell("lock.term")
        copied["write"](store, 1, late)
        first.kill()
    with LeaderLock(path) as _:
        copied["write"](store, 2, late + 1)
        with pytest.raises(copied["TermIsOver"]):
            copied["write"](store, 3, late)  # sent before the kill, and under way until now
    assert store.execute("SELECT * FROM report").fetchall() == [(2, late + 1)]
    store.close()
