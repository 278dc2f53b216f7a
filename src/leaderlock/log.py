"""The one logger, ``leaderlock``: `logging` is imported at the first record, since that takes 6 ms.

`logging.config.dictConfig` and `fileConfig` disable every existing logger that they do not name
(``disable_existing_loggers``, whose default is True). Errors that a background thread cannot raise,
above all a task's traceback, would then be lost silently. So our loggers are enabled again at each use:
to silence them, set their level, or name them in the configuration.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

_logger: logging.Logger | None = None


def log() -> logging.Logger:
    """The ``leaderlock`` logger; looked up once, since a new leader needs it before its task."""
    global _logger  # noqa: PLW0603
    if _logger is None:
        import logging  # noqa: PLC0415

        _logger = logging.getLogger("leaderlock")
    return enabled(_logger)


def enabled(logger: logging.Logger) -> logging.Logger:
    """The logger, enabled again if it is ours."""
    if logger.disabled and logger.name.partition(".")[0] == "leaderlock":
        logger.disabled = False
    return logger
