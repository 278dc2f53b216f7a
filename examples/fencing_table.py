"""A table that refuses a leader whose term is over: the condition is in the statement that writes.

    python fencing_table.py postgresql://app@db/app#report postgresql://app@db/app

Start it on several machines. docs/explanation/fencing.md says why the table must compare the terms.
"""

from __future__ import annotations

import sys
import time

import psycopg

from leaderlock import Election, Leadership


class TermIsOver(Exception):
    """Another process leads by now."""


class Report:
    """One row, with the term of the leader that has written it."""

    def __init__(self, database: str) -> None:
        self._connection = psycopg.connect(database, autocommit=True)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS report"
            " (name text PRIMARY KEY, value text, term bigint NOT NULL)"
        )

    def write(self, value: str, term: int) -> None:
        done = self._connection.execute(
            "INSERT INTO report VALUES ('latest', %s, %s) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value, term = excluded.term WHERE report.term <= excluded.term",
            (value, term),
        )
        if done.rowcount == 0:
            raise TermIsOver(f"the table has seen a greater term than {term}")


def task(leadership: Leadership) -> None:
    report = Report(sys.argv[2])
    for _ in leadership.every(1):
        # If this raises TermIsOver, the task ends, and this process stands for election again.
        report.write(time.strftime("%H:%M:%S"), leadership.term)


if __name__ == "__main__":
    Election(sys.argv[1], lease=10).run(task)
