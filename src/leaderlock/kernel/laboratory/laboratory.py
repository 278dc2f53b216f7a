"""`experiments`: show with real processes how flock behaves in a directory.

The experiments run in a new interpreter, which has no threads and none of the caller's files open, so
that forking is safe for any caller. If the file system hangs, only that interpreter hangs.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass

from leaderlock.kernel.filesystems.judgement import Verdict
from leaderlock.kernel.laboratory.bench import IT_HANGS, NO_ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LIMIT = 20.0
"""Seconds for one experiment: an NFS client may wait several before it requests a lock again."""

_GRACE = 1.0
"""Further seconds, after which the new interpreter itself counts as hung."""

_PROGRAM = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from leaderlock.kernel.laboratory.trial_run import run
run(sys.argv[2], float(sys.argv[3]))
"""


@dataclass(frozen=True)
class Result:
    """The result of one experiment.

    Attributes:
        name: the name of the experiment.
        expectation: the behaviour of flock on a local file system.
        outcome: the behaviour here.
        passed: whether the two are the same.
        consequence: the verdict on the place if not: ``good`` where leaderlock is not affected.
        seconds: the measured time; None if the experiment measures none.
        explanation: the meaning for a lock.
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

    The experiments use a new subdirectory, which is removed at the end, also if the caller stops early
    or is killed; if the file system hangs, as soon as it answers again. The caller may have threads.

    Args:
        directory: must exist and be writable; otherwise the only result gives the reason.
        limit: seconds that one experiment may take. An experiment that takes longer is the last one,
            and does not pass.
    """
    try:
        laboratory = _Laboratory(os.path.abspath(os.fsdecode(directory)), limit)
    except OSError as error:  # sys.executable is missing, or this user may not execute it
        yield Result(**_failure("they could not be run", f"{error}: they need a Python to run in."))
        return
    try:
        for message in laboratory.messages():
            yield Result(**message)
    finally:
        laboratory.leave()


class _Laboratory:
    """The new interpreter.

    The interpreter is never killed. It ends and cleans up by itself, when nobody reads its output or
    its own alarm rings; if the file system hangs, as soon as the file system answers again.
    """

    def __init__(self, directory: str, limit: float) -> None:
        self._limit = limit
        self._hangs = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, json.dumps(sys.path), directory, str(limit)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C interrupts the caller only, which then calls `leave`
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output, self._errors = self._process.stdout, self._process.stderr

    def messages(self) -> Iterator[dict[str, Any]]:
        """The lines of the interpreter's output, until it ends, or is silent for too long."""
        received = b""
        while True:
            deadline = time.monotonic() + self._limit + _GRACE
            while b"\n" not in received:
                left = max(deadline - time.monotonic(), 0)
                if not select.select([self._output], [], [], left)[0]:
                    self._hangs = True
                    yield _failure(NO_ANSWER.format(self._limit), IT_HANGS)
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
            yield _failure("they could not be run", last)

    def leave(self) -> None:
        """Stop reading, and wait until the interpreter has cleaned up, unless it hangs."""
        self._output.close()
        self._errors.close()
        try:
            self._process.wait(0 if self._hangs else self._limit)
        except subprocess.TimeoutExpired:
            self._process.returncode = 0  # otherwise Popen warns that the process still runs


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
