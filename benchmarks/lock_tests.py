"""CPython's own tests of locks, for `threading.Lock` and for `LeaderLock`; prints how many each passes.

    python -m benchmarks.lock_tests

The standard library of each Python brings its own version of them (`test.lock_tests`).
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import threading
import unittest
import warnings
from collections.abc import Callable
from typing import Any

from test import lock_tests

from leaderlock import LeaderLock

LEFT_OUT = {
    "LockTests": {"test_at_fork_reinit"},  # of a private method, which only the standard library calls
    "ConditionTests": {"test_acquire"},  # of a condition's default lock, which is re-entrant
}


def passed(base: type, attributes: dict[str, Any]) -> int:
    """How many tests of a class of CPython's pass with these attributes; a failure ends the program."""
    kind = type(base.__name__, (base,), {**attributes, **dict.fromkeys(LEFT_OUT[base.__name__])})
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(kind)
    result = unittest.TextTestRunner(stream=sys.stderr).run(suite)
    if not result.wasSuccessful():
        sys.exit(1)
    return result.testsRun - len(result.skipped)


def main() -> None:
    """Run them all, and print the counts as JSON."""
    warnings.simplefilter("ignore", ResourceWarning)  # some tests leave a lock held
    with tempfile.TemporaryDirectory() as place:
        number = itertools.count()

        def on_a_path() -> LeaderLock:
            return LeaderLock(os.path.join(place, f"{next(number)}.lock"))

        kinds: dict[str, Callable[[], Any]] = {
            "threading.Lock": threading.Lock,
            "LeaderLock(path)": on_a_path,
            "LeaderLock.anonymous()": LeaderLock.anonymous,
        }
        found = {}
        for name, make in kinds.items():
            own: Callable[..., Any] = staticmethod(make)
            condition = staticmethod(lambda lock=None, make=make: threading.Condition(lock or make()))
            found[name] = {
                "locks": passed(lock_tests.LockTests, {"locktype": own}),
                "conditions": passed(lock_tests.ConditionTests, {"condtype": condition}),
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
