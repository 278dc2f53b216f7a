"""`ElectionSettings`: the settings of an election's candidates, checked at construction."""

from __future__ import annotations

import math

from leaderlock.election.runners.choice import WHERE
from leaderlock.election.runners.native import LATE, NATIVE
from leaderlock.election.task import require_task
from leaderlock.kernel.arguments import choice, number, yes_or_no

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any, Literal, TypedDict

    from leaderlock.deadman import DeadManSwitch
    from leaderlock.election.leadership import Leadership
    from leaderlock.election.runners.runner import Runner
    from leaderlock.engines.engine import Engine

    Callback = Callable[[Leadership], object] | None

    class Settings(TypedDict, total=False):
        """The settings that `only_once` and each server's hook pass to `Election`."""

        lease: float | None
        within: str | os.PathLike[str] | None
        on_return: Literal["hold", "resign"]
        backoff: tuple[float, float]
        on_elected: Callback
        on_resigned: Callback
        thread: Literal["auto", "native"]
        keeper: bool


class ElectionSettings:
    """The settings that `Election` documents, and the engine.

    Attributes:
        switch: the `DeadManSwitch` of the lease; None without a lease.
        runner: the runner of a candidate in the background, where `threading` is not patched.
        is_rehearsal: whether the terms only warm caches, and are therefore not logged.
        start_keeper: called when a task has begun; None without a keeper.
        before_parking: called by a candidate that finds the lock taken, before it waits.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        lease: float | None = None,
        on_return: Literal["hold", "resign"] = "hold",
        backoff: tuple[float, float] = (1.0, 60.0),
        on_elected: Callback = None,
        on_resigned: Callback = None,
        thread: Literal["auto", "native"] = "auto",
        keeper: bool = True,
    ) -> None:
        choice("on_return", on_return, ("hold", "resign"))
        choice("thread", thread, WHERE)
        yes_or_no("keeper", keeper)
        for callback, what in ((on_elected, "on_elected"), (on_resigned, "on_resigned")):
            if callback is not None:
                require_task(callback, what)
        self.engine = engine
        self.switch: DeadManSwitch | None = None
        if lease is not None:
            from leaderlock.deadman import DeadManSwitch  # noqa: PLC0415  (ctypes, 8 ms)

            self.switch = DeadManSwitch(lease)
        self.on_return = on_return
        self.backoff = _as_backoff(backoff)
        self.on_elected = on_elected
        self.on_resigned = on_resigned
        self.thread = thread
        self.keeper = keeper
        self.runner: Runner = NATIVE if thread == "native" else LATE
        # Set these in every instance: a rehearsal warms caches only for instances of one layout.
        self.is_rehearsal = False
        self.start_keeper: Callable[[], None] | None = None
        self.before_parking: Callable[[], None] | None = None

    def as_keywords(self) -> dict[str, Any]:
        """The keywords that make an `Election` with these settings, without its lock."""
        return {
            "lease": None if self.switch is None else self.switch.lease,
            "on_return": self.on_return,
            "backoff": self.backoff,
            "on_elected": self.on_elected,
            "on_resigned": self.on_resigned,
            "thread": self.thread,
            "keeper": self.keeper,
        }


def _as_backoff(backoff: tuple[float, float]) -> tuple[float, float]:
    wanted = "two numbers of seconds, the first pause and the longest one"
    try:
        first, most = backoff
    except (TypeError, ValueError):
        raise TypeError(f"backoff must be {wanted}, not {backoff!r}") from None
    what = "each number of backoff"
    first, most = number(what, first, "seconds"), number(what, most, "seconds")
    if not 0 < first <= most < math.inf:
        raise ValueError(
            f"backoff must be {wanted}: positive, and the first not larger than the longest; not "
            f"{backoff!r}"
        )
    return first, most
