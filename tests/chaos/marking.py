"""The task that marks its terms in the shared page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.chaos.page import Page

if TYPE_CHECKING:
    from leaderlock import Leadership

TICK = 0.004


def task_of(page: Page, who: int) -> Callable[[Leadership], None]:
    """A task that marks its terms."""

    def task(leadership: Leadership) -> None:
        slot = page.enter(who, leadership.term)
        try:
            for _ in leadership.every(TICK):
                page.stamp(slot)
        finally:
            page.leave(slot)

    return task
