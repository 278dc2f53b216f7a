"""The program of the interpreter that `laboratory` starts: run the experiments, print the results."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import tempfile
from dataclasses import replace

from leaderlock.kernel.laboratory.bench import IT_HANGS, NO_ANSWER, Bench
from leaderlock.kernel.laboratory.trials import TRIALS, Trial


class _TooLongError(Exception):
    """The alarm rang."""


def run(directory: str, limit: float) -> None:
    """Run all experiments in a directory, each for `limit` seconds at most; print lines of JSON."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, waitpid(2) cannot wait for a child
    signal.signal(signal.SIGALRM, _ring)
    try:
        place = tempfile.mkdtemp(prefix=".leaderlock-doctor-", dir=directory)
    except OSError as error:
        _say(
            name="making a file",
            expectation="it can be made",
            passed=False,
            outcome=f"refused: {error.strerror}",
            consequence="broken",
            explanation=f"The experiments need a directory that user {os.geteuid()} may write.",
        )
        return
    try:
        for trial in TRIALS:
            signal.setitimer(signal.ITIMER_REAL, limit)
            try:
                _try(trial, Bench(os.path.join(place, "leader.lock")))
            except _TooLongError:
                hung = replace(trial, consequence="broken", explanation=IT_HANGS)
                _tell(hung, False, NO_ANSWER.format(limit))
                return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        shutil.rmtree(place, ignore_errors=True)


def _ring(*_: object) -> None:
    raise _TooLongError


def _try(trial: Trial, bench: Bench) -> None:
    try:
        passed, outcome, *measured = trial.run(bench)
    except OSError as error:  # ENOSYS, EOPNOTSUPP: no flock; ENOLCK: the server's lock service is down
        why = f"flock, or what goes with it, does not work here: {error.strerror}."
        name = errno.errorcode.get(error.errno or 0, str(error))
        trial, passed, outcome, measured = replace(trial, explanation=why), False, f"fails: {name}", []
    finally:
        bench.clear()
    _tell(trial, passed, outcome, *measured)


def _tell(trial: Trial, passed: bool, outcome: str, seconds: float | None = None) -> None:
    _say(
        name=trial.name,
        expectation=trial.expectation,
        passed=passed,
        outcome=outcome,
        consequence=trial.consequence,
        seconds=seconds,
        explanation=trial.explanation,
    )


def _say(**message: str | bool | float | None) -> None:
    os.write(1, json.dumps({"seconds": None, **message}).encode() + b"\n")
