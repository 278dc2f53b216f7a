"""A candidate's place, `Here` or `Elsewhere`; and the frames that show a server's parent process."""

from __future__ import annotations

import os
import sys

from leaderlock.log import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from leaderlock.election.candidate import Candidate

    class Placed(Protocol):
        """An object that begins in other processes than the one that made it."""

        def adopt(self) -> object:
            """Called first in a process that was forked to serve."""

        def begin(self) -> object:
            """Called in that process when it is ready."""

    Call = Callable[[], Candidate]


class Here:
    """This process serves: `start` prepares it as the server needs, and calls the candidate's start."""

    def __init__(self, start: Callable[[Call], Candidate]) -> None:
        self.start = start


class Elsewhere:
    """This process only forks or reloads the serving ones: `put` has an object begin in those."""

    def __init__(self, put: Callable[[Placed], object]) -> None:
        self.put = put


def say_where(place: str) -> None:
    """Log that a candidate does not begin in this process."""
    log().info("process %d is %s: the candidate begins in the processes that serve", os.getpid(), place)


def frames() -> Any:
    """The frames that this thread runs, and those of the main thread, from the inside out."""
    import threading  # noqa: PLC0415  (every server has loaded it)

    mine = sys._getframe(1)
    main = sys._current_frames().get(threading.main_thread().ident or 0)
    for innermost in (mine, None if _is_below(main, mine) else main):
        frame = innermost
        while frame is not None:
            yield frame
            frame = frame.f_back


def _is_below(outer: object, inner: Any) -> bool:
    while inner is not None:
        if inner is outer:
            return True
        inner = inner.f_back
    return False
