"""`experiments`: see with real processes how flock behaves in a directory.

They run in a new interpreter, which has no threads and nothing of the caller's open, so that it can
fork without harm whatever the caller is. If the file system hangs, it hangs alone and is left behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from leaderlock.kernel.judgement import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LIMIT = 20.0
"""Seconds for one experiment: an NFS client may ask for a lock anew only after some."""

_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from leaderlock.kernel import trials
getattr(trials, sys.argv[2])(sys.argv[3])
"""


@dataclass(frozen=True)
class Result:
    """What one experiment showed.

    Attributes:
        name: what was tried.
        expectation: what flock does on a local file system.
        outcome: what happened here.
        passed: whether that is the same.
        consequence: the verdict on the place if it is not: ``good`` where leaderlock does not mind.
        seconds: what was measured; None if it measures nothing.
        explanation: what it means for a lock.
    """

    name: str
    expectation: str
    outcome: str
    passed: bool
    consequence: Verdict
    seconds: float | None
    explanation: str


def experiments(directory: str | os.PathLike[str], *, limit: float = LIMIT) -> Iterator[Result]:
    """Run the experiments in a directory, and yield each result as soon as it is known.

    Everything happens in a new subdirectory, which is removed in the end, also if the caller stops
    early. The caller may have threads.

    Args:
        directory: where; it must exist and be writable, or the only result says why not.
        limit: seconds that one experiment may take. One that takes longer is the last result, and does
            not pass.
    """
    laboratory = _Laboratory("run", os.path.abspath(os.fsdecode(directory)))
    place = None
    try:
        for message in laboratory.messages(limit):
            if "place" in message:
                place = message["place"]
            else:
                yield Result(**message)
        place = None  # it has tidied up itself
    finally:
        laboratory.end()
        if place is not None:
            cleaner = _Laboratory("tidy", place)
            for _ in cleaner.messages(limit):
                pass
            cleaner.end()


class _Laboratory:
    """The new interpreter; everything it starts is in its process group."""

    def __init__(self, function: str, argument: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, json.dumps(sys.path), function, argument],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output, self._errors = self._process.stdout, self._process.stderr

    def messages(self, limit: float) -> Iterator[dict[str, Any]]:
        """What it says, one line after the other, until it ends, or says nothing for too long."""
        received = b""
        while True:
            deadline = time.monotonic() + limit
            while b"\n" not in received:
                left = max(deadline - time.monotonic(), 0)
                if not select.select([self._output], [], [], left)[0]:
                    yield _no_answer(limit)
                    return
                data = os.read(self._output.fileno(), 65536)
                if not data:
                    yield from self._last_words()
                    return
                received += data
            line, _, received = received.partition(b"\n")
            yield json.loads(line)

    def _last_words(self) -> Iterator[dict[str, Any]]:
        if self._process.wait() != 0:
            text = self._errors.read().decode(errors="replace").strip()
            last = text.splitlines()[-1] if text else f"status {self._process.returncode}"
            yield _failure("the experiments could not be run", last)

    def end(self) -> None:
        """Kill what is left of it; a process that hangs in the file system is not waited for."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it has ended (macOS says the latter)
            pass
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.returncode = -signal.SIGKILL  # or Popen would warn that it still runs
        self._output.close()
        self._errors.close()


def _no_answer(limit: float) -> dict[str, Any]:
    return _failure(
        f"no answer within {limit:g} s",
        "The file system hangs, or its lock service does not answer; the rest was not tried.",
    )


def _failure(outcome: str, explanation: str) -> dict[str, Any]:
    return {
        "name": "the experiments",
        "expectation": "each ends within a second or so",
        "outcome": outcome,
        "passed": False,
        "consequence": "broken",
        "seconds": None,
        "explanation": explanation,
    }
