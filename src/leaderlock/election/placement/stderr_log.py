"""What leaderlock says, where a server's own log goes: to standard error."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Print what would go nowhere else, until the application sets its logging up."""
    logger = logging.getLogger("leaderlock")
    if logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("leaderlock: %(message)s"))
    # The application may set up its logging later.
    handler.addFilter(lambda _record: not logging.root.handlers)
    logger.addHandler(handler)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
