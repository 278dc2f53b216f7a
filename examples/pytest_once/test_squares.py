from __future__ import annotations

import sqlite3

import pytest


@pytest.mark.parametrize("number", range(8))
def test_square(directory: str, number: int) -> None:
    database = sqlite3.connect(f"{directory}/database")
    query = "select square from squares where number = ?"
    assert database.execute(query, [number]).fetchall() == [(number**2,)]
    database.close()
