"""Elections that are not safe, each by one rule that is left out: the witness must notice each of them.

A variant patches the library in the process of a candidate. Nothing of this is in leaderlock itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Variant(NamedTuple):
    """A rule that is left out.

    Attributes:
        what: for tables.
        patch: called in a candidate before it makes its election.
    """

    what: str
    patch: Callable[[], None]


def no_timers() -> None:
    """The kernel kills nobody: neither a leader whose lease has passed, nor one whose task hangs."""
    from leaderlock.kernel.timer import Timer

    def do_nothing(self: Timer, moment: float = 0) -> None:
        """In place of `Timer.expire_at` and `Timer.rewind`."""

    for name in ("expire_at", "rewind"):
        setattr(Timer, name, do_nothing)


VARIANTS = {
    "no dead-man": Variant("the kernel does not kill a leader whose lease has passed", no_timers),
}
