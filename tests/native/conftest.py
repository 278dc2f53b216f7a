"""The tests of this directory have keepers, which the others go without."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def with_keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADERLOCK_KEEPER", raising=False)
