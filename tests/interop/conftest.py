"""Fixtures of all of these tests, of the originals and of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import Child, descriptors_of, holder, threads_of, until


@pytest.fixture
def held(path: Path) -> Iterator[Child]:
    """Another process holds the lock."""
    with holder(path) as child:
        yield child


@pytest.fixture(autouse=True)
def nothing_left_behind(path: Path) -> Iterator[None]:
    before = len(threads_of())
    yield
    assert str(path) not in descriptors_of()
    until(lambda: len(threads_of()) <= before, "its threads to end")
