"""One of the workers fills the database, which takes long: pytest -n 4 examples/pytest_once."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile

import pytest

from leaderlock.integrations.pytest import once_per_run

pytest_plugins = ["leaderlock.integrations.pytest"]


@pytest.fixture(scope="session")
@once_per_run(teardown=shutil.rmtree)
def directory() -> str:
    made = tempfile.mkdtemp(prefix="example-")
    with sqlite3.connect(f"{made}/database") as database:
        database.execute("create table squares (number integer, square integer)")
        rows = ((number, number**2) for number in range(100_000))
        database.executemany("insert into squares values (?, ?)", rows)
    return made
