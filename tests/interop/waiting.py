"""What the tests of waiting have in common."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from tests.processes import Child, sleeps, threads_of, wakeups_of


@contextlib.contextmanager
def after(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Have something called while the block waits."""
    timer = threading.Timer(seconds, call)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def at_rest(child: Child) -> bool:
    """Whether none of its threads has run for a while: all that a wait starts are where they stay."""
    before = wakeups_of(child.pid)
    silent = child.is_silent(0.05)
    return silent and all(map(sleeps, threads_of(child.pid))) and wakeups_of(child.pid) == before
