"""leaderlock's log records go to standard error, like a server's own log."""

from __future__ import annotations

import logging


def log_to_stderr() -> None:
    """Print records that no other handler gets, until the application sets its logging up."""
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
