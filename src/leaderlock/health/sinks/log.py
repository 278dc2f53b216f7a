"""Reports as log records, one line of JSON each."""

from __future__ import annotations

import json
import logging

from leaderlock.kernel.arguments import names_near_keyword
from leaderlock.log import enabled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


@names_near_keyword
def log(
    logger: str | logging.Logger = "leaderlock.health", level: int = logging.INFO
) -> Callable[[Mapping[str, Any]], None]:
    """A sink that logs each report as one line of JSON.

    Args:
        logger: a logger or its name.
        level: the level of the records.
    """
    target = logging.getLogger(logger) if isinstance(logger, str) else logger

    def write(report: Mapping[str, Any]) -> None:
        enabled(target).log(level, "%s", json.dumps(report, separators=(",", ":")))

    write.__qualname__ = "sinks.log()"
    return write
