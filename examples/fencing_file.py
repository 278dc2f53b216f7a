"""A file that refuses a leader whose term is over: a lock makes the comparison and the write one step.

    python fencing_file.py postgresql://app@db/app#report /srv/shared/report.json

Start it on several machines or containers that share the directory. The file system must carry flock(2)
from one machine to the other. A writer that is stopped in the middle of a write keeps the lock: the
next leader then waits, and neither of them damages the file. But a server of NFS takes the lock from a
machine that is cut off for long, and a write that this machine has begun may end later: prefer a table
or an object store there. docs/explanation/fencing.md says more.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path

from leaderlock import Election, Leadership


class TermIsOver(Exception):
    """Another process leads by now."""


class Report:
    """A file, with the term of the leader that has written it; beside it a file to lock."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._guard = self._path.with_name(f"{self._path.name}.guard")  # never replaced, as the file is

    def write(self, value: str, term: int) -> None:
        with self._guard.open("a") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)  # until the file is closed
            greatest = self._term()
            if greatest > term:
                raise TermIsOver(f"the file is of term {greatest}, this leader of term {term}")
            new = self._path.with_name(f"{self._path.name}.new")
            with new.open("w") as file:
                json.dump({"value": value, "term": term}, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)  # a reader sees the old report or the new one

    def _term(self) -> int:
        try:
            return int(json.loads(self._path.read_text())["term"])
        except FileNotFoundError:
            return 0


def task(leadership: Leadership) -> None:
    report = Report(sys.argv[2])
    for _ in leadership.every(1):
        # If this raises TermIsOver, the task ends, and this process stands for election again.
        report.write(time.strftime("%H:%M:%S"), leadership.term)


if __name__ == "__main__":
    Election(sys.argv[1], lease=10).run(task)
